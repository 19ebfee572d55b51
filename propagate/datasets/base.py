"""What every data set layout shares: its options and its protocol."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from jobs.console.settings import setting
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip, Label
from propagate.errors import DatasetError

TRAIN = "train"  # the split where none is asked for
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Where a data set lies and how to read it; each layout takes what it needs and refuses what it does not."""

    root: Path = setting(
        Path(),
        "Where the data set lies, extracted or as zip files.",
        otherwise="PROPAGATE_ROOT, or where you stand",
        variable="PROPAGATE_ROOT",
    )
    split: str = setting(TRAIN, "The split of the data set.")
    layout: Path | None = setting(
        None,
        "folder, video: the YAML file that describes the data set, from where you stand.",
        otherwise="layout.yaml in the root",
    )
    max_gap: int | None = setting(
        None, "camvid, folder: a larger jump in frame numbers ends a clip.", least=1, otherwise="the smallest one"
    )

    def __post_init__(self) -> None:
        if self.max_gap is not None and self.max_gap < 1:
            raise ValueError(f"max_gap is {self.max_gap}, expected 1 or more")


class Dataset(Protocol):
    classes: ClassTable

    def clips(self, num_neighbours: int) -> list[Clip]:
        """A clip per annotated frame of the split, always in one order. Raises: DatasetError where there is none."""
        ...

    def labels(self, keys: Iterable[str]) -> Mapping[str, Label]:
        """The label maps that the data set has for these frames of the split; without those it has none for."""
        ...


def refuse_layout_file(options: DatasetOptions, dataset: str) -> None:
    """Raise DatasetError where a layout that is fixed is given a layout file."""
    if options.layout is not None:
        raise DatasetError(
            f"{options.layout}: the {dataset} layout takes no layout file; leave out --layout, or use it with "
            "--dataset folder or video"
        )


def refuse_max_gap(options: DatasetOptions, dataset: str, reason: str) -> None:
    """Raise DatasetError where a layout whose frame numbers leave no choice is given a gap."""
    if options.max_gap is not None:
        raise DatasetError(f"{options.root}: the {dataset} layout takes no --max-gap, {reason}; leave it out")


@cache
def say_without_effect(options: DatasetOptions, reason: str) -> None:
    """Log a warning where a split is asked for of what has none; once, however often it is opened."""
    if options.split != TRAIN:
        _log.warning(
            "%s: --split %s without effect, all annotated frames are taken: %s", options.root, options.split, reason
        )


def refuse_unknown_split(options: DatasetOptions, splits: Sequence[str]) -> None:
    """Raise DatasetError unless the split is one of those that have labels."""
    if options.split not in splits:
        raise DatasetError(
            f"{options.root}: no labels of a split '{options.split}'; there are labels of: {', '.join(splits)}"
        )
