"""The class index of plain label maps: read by several processes, and kept for the next time."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from propagate.data.classes import ClassTable
from propagate.data.clip import Label
from propagate.data.images import read_label
from propagate.shards.reader import SampleRecord
from segtrain.data.centroids import Centroids, TileGrid, centroids_of_label_map
from segtrain.data.index import ClassIndex
from segtrain.data.index_cache import cache_key, default_cache, load_centroids, save_centroids
from segtrain.errors import DataError

ALONE_BELOW = 100  # label maps: so many are read sooner than other processes are started
CHUNK = 8  # label maps that a process reads at a time

_log = logging.getLogger(__name__)


def index_label_files(
    records: Sequence[SampleRecord],
    labels: Sequence[Label],
    classes: ClassTable,
    tile: int,
    *,
    cache: Path | None = None,
    num_processes: int | None = None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> ClassIndex:
    """The index of samples whose label maps are files, of any sizes; the same for any number of processes.

    cache: the folder that keeps what was found; none means the user's own. num_processes: that read label maps, 1 for
    this one alone; none means one per core where there are many label maps. They are spawned: a script that calls this
    needs `if __name__ == "__main__":`. on_progress is called with the number of label maps read since its last call,
    not at all where the cache has the index.

    Raises: InputError for a label map that can't be read or has ids that the table doesn't have, DataError where there
    is none, ValueError where there aren't as many as records, or for a tile below 1 pixel.
    """
    if len(records) != len(labels):
        raise ValueError(f"expected a label map for every sample, found {len(labels)} for {len(records)}")
    cache = cache or default_cache()
    key = cache_key(labels, classes, tile)
    centroids = load_centroids(cache, key) if labels else None
    if centroids is not None:
        return ClassIndex(tuple(records), classes.train_names, centroids)
    _log.info("reading %d label maps, once, for where each class lies", len(labels))
    parts = []
    for part in _read_all(labels, partial(_centroids, classes=classes, tile=tile), num_processes):
        parts.append(part)
        on_progress(1)
    index = ClassIndex.of(records, classes, parts)
    save_centroids(cache, key, index.centroids)
    return index


def _read_all(
    labels: Sequence[Label], read: Callable[[Label], Centroids], num_processes: int | None
) -> Iterator[Centroids]:
    """What `read` makes of each label map, in their order."""
    num_processes = num_processes or (1 if len(labels) < ALONE_BELOW else len(os.sched_getaffinity(0)))
    if num_processes == 1:
        yield from map(read, labels)
        return
    # forked processes would inherit the threads' locks of torch and HDF5
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(read, labels, chunksize=CHUNK)
        except BrokenProcessPool:
            raise DataError(
                "a process that reads label maps has died: for want of memory perhaps, or since the script that starts "
                'it calls this without `if __name__ == "__main__":`'
            ) from None


def _centroids(label: Label, classes: ClassTable, tile: int) -> Centroids:
    """Those of one label map, as of sample 0."""
    values = read_label(label, classes)
    height, width = values.shape
    return centroids_of_label_map(values, classes.train_id_of, TileGrid(height, width, tile))
