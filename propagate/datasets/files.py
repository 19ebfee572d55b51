"""A data set that is files below a root: what follows from where their names place them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from propagate.data.classes import ClassTable
from propagate.data.clip import Clip, Label
from propagate.datasets.base import DatasetOptions
from propagate.datasets.sequence import Entry, Recording, find_labels, make_clips, walk_steps
from propagate.datasets.tree import Tree


class FileDataset(ABC):
    """What all layouts of files share: each says which entries there are, and how one walks from frame to frame.

    By default a walk takes any step between frame numbers up to `max_gap`, or, where that is None, the smallest that
    the recording has.
    """

    classes: ClassTable
    marks: tuple[str, ...] = ()  # paths below a root, with wildcards, of which one is there where it is of this layout

    @classmethod
    def fits(cls, options: DatasetOptions) -> bool:
        """Whether the root looks like one of this layout, and no layout file says that it is of another."""
        return options.layout is None and any(True for mark in cls.marks for _ in options.root.glob(mark))

    def __init__(self, tree: Tree, split: str, *, max_gap: int | None = None) -> None:
        self._tree, self._split, self._max_gap = tree, split, max_gap

    @property
    @abstractmethod
    def _frames(self) -> Sequence[Entry]:
        """The frames of the split, annotated or not."""

    @property
    @abstractmethod
    def _labels(self) -> Sequence[Entry]:
        """The label maps of the split. Raises: DatasetError where there is none."""

    def _walk(self, recording: Recording, start: int, direction: int, limit: int) -> tuple[Sequence[int], str | None]:
        """The neighbours of a frame, as `propagate.datasets.sequence.Walk` says."""
        return walk_steps(recording, start, direction, limit, root=self._tree.root, max_gap=self._max_gap)

    def clips(self, num_neighbours: int) -> list[Clip]:
        return make_clips(
            self._tree,
            self._split,
            frames=self._frames,
            labels=self._labels,
            walk=self._walk,
            num_neighbours=num_neighbours,
        )

    def labels(self, keys: Iterable[str]) -> dict[str, Label]:
        return find_labels(self._tree, self._labels, keys)
