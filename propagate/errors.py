"""What can go wrong in the main job.

    PropagateError
    ├── DatasetError        a root, a split or a layout that cannot be used at all
    ├── InputError          one bad frame or label map: its clip is cut short or fails, the rest goes on
    └── StoreError          a shard store that cannot be read, written or continued

A message says what was found, what was expected, and what to do.
"""


class PropagateError(Exception):
    """Base of every error that this package raises on purpose."""


class DatasetError(PropagateError):
    """A data set's root, split or layout cannot be used."""


class InputError(PropagateError):
    """One frame or label map cannot be used; the message begins with its path."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.path, self.reason)


class StoreError(PropagateError):
    """A shard store cannot be read, written or continued."""
