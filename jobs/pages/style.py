"""How pages look: one style sheet, in the page itself, for narrow and wide, light and dark."""

from importlib import resources

# Text on either ground has a contrast of 4.5 : 1 or more, curves and marks of 3 : 1 (WCAG 2.2, AA).
LIGHT = {
    "ground": "#f6f7f9",
    "card": "#ffffff",
    "text": "#1a202b",
    "quiet": "#566072",
    "edge": "#dce0e7",
    "accent": "#1f5fc4",
    "second": "#b4530a",
    "series-1": "#1f5fc4",
    "series-2": "#b4530a",
    "series-3": "#1d7d46",
    "series-4": "#8a3fb0",
    "series-5": "#b3265c",
    "series-6": "#0b7285",
    "series-7": "#7a6500",
    "series-8": "#566072",
}
DARK = {
    "ground": "#12151b",
    "card": "#1b2029",
    "text": "#e8ebf0",
    "quiet": "#a3adbd",
    "edge": "#343c4a",
    "accent": "#7fb0ff",
    "second": "#f2a65a",
    "series-1": "#7fb0ff",
    "series-2": "#f2a65a",
    "series-3": "#6fd08c",
    "series-4": "#cf9cf0",
    "series-5": "#f58aa8",
    "series-6": "#5ed3e0",
    "series-7": "#d8c64f",
    "series-8": "#a3adbd",
}


def style_sheet() -> str:
    """The whole style sheet, as CSS."""
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}"
    rules = (resources.files("jobs.pages") / "style.css").read_text(encoding="utf-8")
    return f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n{dark}\n{rules}"


def _variables(palette: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())
