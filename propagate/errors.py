"""What can go wrong in the main job.

    PropagateError
    ├── DatasetError        a root, a split or a layout that cannot be used at all
    ├── InputError          one bad frame or label map: its clip is cut short or fails, the rest goes on
    │   └── UnreachableError    one that this machine cannot reach, and another one perhaps can
    ├── StoreError          a shard store that cannot be read, written or continued
    └── ReviewError         decisions that are not of a store, or a page or a clip that cannot be written or served

A message says what was found, what was expected, and what to do.
"""

from jobs.errors import FileError


class PropagateError(Exception):
    """Base of every error that this package raises on purpose."""


class DatasetError(PropagateError):
    """A data set's root, split or layout cannot be used."""


class InputError(PropagateError, FileError):
    """One frame or label map cannot be used; the message begins with its path."""


class UnreachableError(InputError):
    """A file cannot be reached from this machine: it is not there, not allowed, or its disk or server is at fault."""


class StoreError(PropagateError):
    """A shard store cannot be read, written or continued."""


class ReviewError(PropagateError):
    """Decisions are not of a store's samples, or what is to be looked at cannot be written or served."""
