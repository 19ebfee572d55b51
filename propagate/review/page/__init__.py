"""The page on which people look at the samples of a store."""

from jobs.pages.templates import render


def page_files(name: str) -> dict[str, bytes]:
    """The files of the page of a store of that name, by their paths in its folder."""
    return {"index.html": render("propagate.review.page", "report.html.j2", name=name).encode()}
