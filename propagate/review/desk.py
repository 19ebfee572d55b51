"""A store on the desk of one person: its page's files, and the decisions that are saved."""

import threading
from pathlib import Path

from propagate.review.contents import Contents
from propagate.review.decisions import Decisions, digests_of, parse_decisions, require_of, save_decisions


class Desk:
    """What is looked at, and where decisions go: one request at a time reads the store, or writes them."""

    def __init__(self, contents: Contents, path: Path) -> None:
        """path: the file of decisions. Raises: StoreError."""
        self._contents, self._path = contents, path
        self._digests = digests_of(contents.store)
        self._lock = threading.Lock()

    def file(self, name: str) -> bytes | None:
        """Raises: StoreError."""
        with self._lock:
            return self._contents.file(name)

    def parse(self, data: bytes) -> Decisions:
        """Decisions that a page has sent. Raises: ReviewError for those that are none of this store."""
        decisions = parse_decisions(data, "what the page has sent")
        require_of(decisions, self._contents.store, self._digests, "what the page has sent")
        return decisions

    def save(self, decisions: Decisions) -> None:
        """Raises: ReviewError where the file cannot be written."""
        with self._lock:
            save_decisions(self._path, decisions)
            self._contents.decisions = decisions
