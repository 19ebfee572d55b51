"""Which samples there are, and where in them each class lies.

From a store the index takes no more than its statistics: no label map is read. `segtrain.data.label_index` makes it
from label maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from propagate.data.classes import ClassTable
from propagate.shards.cells import CellStatistics
from propagate.shards.reader import SampleRecord, Shard, Store
from segtrain.data.centroids import NUM_VALUES, Centroids, TileGrid, centroids_of_cells, join_centroids
from segtrain.errors import DataError


@dataclass(frozen=True)
class ClassIndex:
    """Samples in a fixed order, the names of the classes by train id, and the centroids, by number of the sample."""

    records: tuple[SampleRecord, ...]
    class_names: tuple[str, ...]
    centroids: Centroids

    @classmethod
    def of(cls, records: Sequence[SampleRecord], classes: ClassTable, parts: Sequence[Centroids]) -> "ClassIndex":
        """The index of samples, from the centroids of each as of sample 0.

        Raises: DataError where there is no sample.
        """
        return _index(records, classes, [_numbered_from(number, part) for number, part in enumerate(parts)])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def index_store(
    store: Store, tile: int, *, classes: ClassTable | None = None, records: Sequence[SampleRecord] | None = None
) -> ClassIndex:
    """The index of all samples of a store, in the order of `store.records()`.

    classes: another table than the store's own, for another choice of classes. records: those of the store, if they
    were read already. Tiles are exact in multiples of 64 pixels; see `centroids_of_cells`. Pixels count whatever their
    confidence.

    Raises: StoreError where a shard cannot be read, DataError for label ids that the table doesn't have.
    """
    table = classes or store.manifest.classes
    records = tuple(store.records()) if records is None else records
    parts: list[Centroids] = []
    number = 0
    for index in store.indices:
        with store.open(index) as shard:
            sample, cells = _statistics(shard)
            _require_known(np.bincount(cells.label_id, minlength=NUM_VALUES), table, str(shard.path))
            grid = TileGrid(*store.manifest.shards[index].size, tile)
            parts.append(centroids_of_cells(sample + number, cells, table.train_id_of, grid))
            number += len(shard)
    return _index(records, table, parts)


def join_indices(parts: list[ClassIndex]) -> ClassIndex:
    """One index of the samples of several sources, one source after the other.

    Raises: ValueError where their classes differ.
    """
    names = parts[0].class_names
    for part in parts[1:]:
        if part.class_names != names:
            raise ValueError(f"sources of other classes can't be joined: {list(names)} and {list(part.class_names)}")
    starts = np.cumsum([0, *(len(part.records) for part in parts[:-1])])
    centroids = [_numbered_from(start, part.centroids) for start, part in zip(starts, parts, strict=True)]
    return ClassIndex(tuple(r for part in parts for r in part.records), names, join_centroids(centroids))


def select_samples(index: ClassIndex, numbers: Sequence[int]) -> ClassIndex:
    """The index of some of the samples alone; numbers: theirs, growing, by whose order they are numbered anew."""
    centroids = index.centroids
    rows = np.isin(centroids.sample, numbers)
    columns = {field.name: getattr(centroids, field.name)[rows] for field in fields(Centroids)}
    columns["sample"] = np.searchsorted(numbers, columns["sample"])
    return replace(index, records=tuple(index.records[number] for number in numbers), centroids=Centroids(**columns))


def _index(records: Sequence[SampleRecord], table: ClassTable, parts: list[Centroids]) -> ClassIndex:
    if not records:
        raise DataError(f"no sample to index, with the classes of '{table.name}'; choose a split that has some")
    return ClassIndex(tuple(records), table.train_names, join_centroids(parts))


def _numbered_from(start: int, centroids: Centroids) -> Centroids:
    return replace(centroids, sample=centroids.sample + start)


def _statistics(shard: Shard) -> tuple[np.ndarray, CellStatistics]:
    """The statistics of a whole shard, and the number in it of the sample of each row."""
    _, size = shard.cell_runs
    cells = CellStatistics(*(shard.column(f"cells/{name}") for name in ("cell", "label_id", "count", "sum_x", "sum_y")))
    return np.repeat(np.arange(len(size)), size), cells


def _require_known(counts: np.ndarray, table: ClassTable, where: str) -> None:
    """counts: [256], how often each label id occurs."""
    unknown = sorted(set(np.flatnonzero(counts).tolist()) - {c.id for c in table.classes})
    if unknown:
        raise DataError(
            f"{where}: label ids {unknown} are not in the class table '{table.name}'; give the table of these labels"
        )
