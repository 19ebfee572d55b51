"""What the pool works on: units, the worker that turns each into a record, and what became of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Unit = TypeVar("Unit")
Record = TypeVar("Record")
UnitIn = TypeVar("UnitIn", contravariant=True)
RecordOut = TypeVar("RecordOut", covariant=True)
OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Doubtful(Generic[Record]):
    """A record that another node would perhaps have made better: it counts only if no other node can try."""

    record: Record


class Worker(Protocol[UnitIn, RecordOut]):
    """Turns one unit into one record, both picklable and small: pixels go elsewhere, as files.

    Making one raises UnfitNodeError where only this node is at fault: it gets no work, and the others do.
    """

    def __call__(self, unit: UnitIn, attempt: str, on_progress: OnProgress) -> RecordOut | Doubtful[RecordOut]:
        """The unit's record, doubtful where another node, if there is one, shall try the unit once more.

        attempt: a name that no other try at any unit has had, in this run or an earlier one; for file names.
        on_progress: takes how much more is done; call it from one thread.
        """
        ...


@dataclass(frozen=True)
class Outcome(Generic[Record]):
    """What became of ``units[index]`` after so many attempts: its record, or why there is none."""

    index: int
    record: Record | None
    error: str | None
    attempts: int


def attempt_name() -> str:
    """A new name for one try at one unit: 12 hex digits."""
    return secrets.token_hex(6)
