"""A store on the desk of one person: its page's files, and the decisions that are saved."""

import threading
from pathlib import Path

from propagate.review.contents import STORE, Contents
from propagate.review.decisions import (
    Decisions,
    digests_of,
    parse_decisions,
    read_decisions_on,
    require_of,
    save_decisions,
    version_of,
)


class Desk:
    """What is looked at, and where decisions go: one request at a time reads the store, or writes them."""

    def __init__(self, contents: Contents, path: Path) -> None:
        """path: the file of decisions, those there are shown. Raises: StoreError, ReviewError."""
        self._contents, self._path = contents, path
        self._digests = digests_of(contents.store)
        self._lock = threading.Lock()
        self._refresh()

    def file(self, name: str) -> bytes | None:
        """Raises: StoreError; ReviewError where somebody has put something else in place of the decisions."""
        with self._lock:
            if name == STORE:
                self._refresh()
            return self._contents.file(name)

    def parse(self, data: bytes) -> Decisions:
        """Decisions that a page has sent. Raises: ReviewError for those that are none of this store."""
        where = "what the page has sent"
        decisions = parse_decisions(data, where)
        require_of(decisions, self._contents.store, self._digests, where)
        return decisions

    def save(self, decisions: Decisions, version: str | None = None) -> str | None:
        """Write them in place of those there are -> the version of the file.

        version: of the file that they were taken on, if that is known: where another is there now, such as from another
        window, nothing is written, and None returned. Raises: ReviewError where the file cannot be written.
        """
        with self._lock:
            if version is not None and version != version_of(self._path):
                return None
            save_decisions(self._path, decisions)
            self._contents.decisions, self._contents.version = decisions, version_of(self._path)
            return self._contents.version

    def _refresh(self) -> None:
        """Show the decisions that the file has now."""
        version = version_of(self._path)
        if version != self._contents.version:
            decisions = read_decisions_on(self._path, self._contents.store) if version else None
            self._contents.decisions, self._contents.version = decisions, version
