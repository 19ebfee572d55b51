"""How the page of a run looks: one style sheet, in the page itself, for narrow and wide, light and dark."""

# Text on either ground has a contrast of 4.5 : 1 or more, curves and marks of 3 : 1 (WCAG 2.2, AA).
LIGHT = {
    "ground": "#f6f7f9",
    "card": "#ffffff",
    "text": "#1a202b",
    "quiet": "#566072",
    "edge": "#dce0e7",
    "accent": "#1f5fc4",
    "second": "#b4530a",
}
DARK = {
    "ground": "#12151b",
    "card": "#1b2029",
    "text": "#e8ebf0",
    "quiet": "#a3adbd",
    "edge": "#343c4a",
    "accent": "#7fb0ff",
    "second": "#f2a65a",
}

_RULES = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
main, header { max-width: 72rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2rem; }
main { padding-bottom: 3rem; }
h1 { margin: 0; font-size: clamp(1.5rem, 5vw, 2.2rem); line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.25rem; }
h3 { margin: 0 0 .25rem; font-size: 1rem; }
p { margin: .5rem 0; max-width: 70ch; text-wrap: pretty; }
.quiet, figcaption, caption { color: var(--quiet); font-size: .9rem; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: .6rem; padding: 1rem; }
figure { margin: 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.5rem 0 0; }
.facts dt { color: var(--quiet); font-size: .9rem; }
.facts dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.facts small { display: block; color: var(--quiet); font-size: .85rem; font-weight: 400; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem; }
.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--quiet); font-size: 12px; font-variant-numeric: tabular-nums; }
.chart .grid { stroke: var(--edge); }
.chart .axis { stroke: var(--quiet); }
.chart .line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
.chart .band { fill: var(--accent); opacity: .25; }
.chart .dot { fill: var(--accent); }
.chart .mark { fill: none; stroke: var(--second); stroke-width: 2.5; }
.chart .resumed { stroke: var(--second); stroke-dasharray: 4 4; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { padding: .3rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--edge); }
tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; overflow-wrap: break-word; }
tbody th { font-weight: 400; }
thead th, thead td { vertical-align: bottom; }
td { overflow-wrap: anywhere; }
.number { text-align: right; width: 5.5rem; overflow-wrap: normal; }
.bars { width: 50%; vertical-align: middle; }
.bar { position: relative; height: .75rem; border-radius: .2rem; background: var(--edge); }
.bar span { position: absolute; inset: 0 auto 0 0; border-radius: .2rem; background: var(--accent); }
.bar i { position: absolute; top: -.2rem; bottom: -.2rem; width: 3px; margin-left: -1.5px; background: var(--second); }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border: 1px solid var(--quiet);
  border-radius: .2em; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: .75rem 0; padding: 0; list-style: none;
  font-size: .9rem; }
.views { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); gap: .75rem; }
.picture { margin-bottom: 1rem; }
.picture h3 { overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; border-radius: .3rem; }
details { margin-top: 1rem; }
summary { cursor: pointer; padding: .4rem 0; font-weight: 600; }
pre { margin: .75rem 0; padding: .75rem 1rem; border: 1px solid var(--edge); border-radius: .4rem;
  background: var(--card); white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
@media (max-width: 40rem) {
  .card { padding: .75rem; }
  .chart text { font-size: 18px; }
  .bars { width: 34%; }
  .number { width: 4rem; }
  th, td { padding: .3rem .35rem; }
}
@media print { .card { break-inside: avoid; } }
"""


def style_sheet() -> str:
    """The whole style sheet, as CSS."""
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}"
    return f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n{dark}{_RULES}"


def _variables(palette: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())
