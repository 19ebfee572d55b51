"""The page on which people look at the samples of a store and decide: its files, which need no server and no network.

report.html.j2   the skeleton; report.css   what the style sheet of `jobs.pages` lacks
SCRIPTS          plain scripts in the order in which they are loaded; each says at its top what it is for
"""

from importlib import resources

from markupsafe import Markup

from jobs.pages.templates import render

SCRIPTS = (
    "words.js",
    "samples.js",
    "choice.js",
    "decisions.js",
    "maps.js",
    "doubt.js",
    "files.js",
    "list.js",
    "zoom.js",
    "viewer.js",
    "charts.js",
    "controls.js",
    "report.js",
)


def page_files(name: str) -> dict[str, bytes]:
    """The files of the page of a store of that name, by their paths in its folder, where `data/` lies beside them."""
    style = Markup(_text("report.css"))
    page = render("propagate.review.page", "report.html.j2", name=name, scripts=SCRIPTS, report_style=style)
    return {"index.html": page.encode(), **{f"page/{script}": _text(script).encode() for script in SCRIPTS}}


def _text(file: str) -> str:
    return (resources.files(__name__) / file).read_text(encoding="utf-8")
