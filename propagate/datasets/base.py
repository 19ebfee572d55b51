"""What every data set layout shares: its options and its protocol."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from propagate.classes import ClassTable
from propagate.clip import Clip, Label


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Where a data set lies and how to read it; each layout takes what it needs and refuses what it does not."""

    root: Path
    split: str = "train"
    layout: Path | None = None
    max_gap: int | None = None


class Dataset(Protocol):
    classes: ClassTable

    def clips(self, num_neighbours: int) -> list[Clip]:
        """A clip per annotated frame of the split, sorted by key. Raises DatasetError where there is none."""
        ...

    def labels(self, keys: Iterable[str]) -> Mapping[str, Label]:
        """The label maps that the data set has for these frames of the split; without those it has none for."""
        ...
