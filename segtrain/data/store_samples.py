"""The samples of a shard store, for training: of a raw shard, no more is read than the chunks of the window."""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.images import decode_frame
from propagate.data.sample import CONFIDENCE_LEVELS
from propagate.errors import InputError, StoreError
from propagate.review.decisions import read_decisions, require_of
from propagate.shards.identity import identity_of
from propagate.shards.opening import ADVICE, UNREADABLE
from propagate.shards.reader import OpenShards, SampleRecord, Shard, Store, open_store
from segtrain.data.dataset import Pixels, SegmentationDataset, Window, inside
from segtrain.data.index import ClassIndex, index_store, select_samples
from segtrain.data.neighbours import find_neighbours, require_offsets
from segtrain.data.weighing import NO_WEIGHING, Weighing
from segtrain.errors import DataError

_log = logging.getLogger(__name__)


def open_store_samples(
    path: str | Path,
    *,
    split: str | None = None,
    min_confidence: float = 0.0,
    weighing: Weighing = NO_WEIGHING,
    classes: ClassTable | None = None,
    offsets: tuple[int, ...] = (),
    all_needed: bool = True,
    decisions: Path | None = None,
) -> SegmentationDataset:
    """The samples of a shard store, in the order of the plan.

    split: the split that the store must be of. min_confidence: pixels below it, in [0,1], become 255; the index knows
    them nevertheless, since the statistics in a store count every pixel. weighing: what the others count. classes:
    another table than the store's own, for another choice of trained classes. offsets: of the neighbours that each
    sample comes with, from its own frame; where all are needed, samples that lack one are left out. A neighbour is the
    frame of another sample, of the same source and pairing: with pairing "joint", frames beside the annotated one are
    predicted. decisions: a file of those on this store, whose rejected samples are left out too; as neighbours of
    others, their frames are as good as any.
    How many are left out is logged.

    Raises: StoreError where the store or a shard is missing or damaged; ReviewError for decisions that are not of its
    samples; DataError for another split, a store without samples, without any that has all its neighbours, or any that
    is not rejected, and label ids that the class table doesn't have; ValueError for a confidence outside [0,1], an
    offset of 0, or one that is repeated.
    """
    require_offsets(offsets)
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence must be within 0…1, found {min_confidence}")
    store = open_store(Path(path).absolute())  # a worker may have another working directory
    if split is not None and split != store.manifest.split:
        raise DataError(
            f"{path}: a store of split '{store.manifest.split}', expected '{split}'; name the store of that split, or "
            f"make it with `propagate run --split {split}`"
        )
    return _StoreSamples(
        store, min_confidence, weighing, classes or store.manifest.classes, offsets, all_needed, decisions
    )


class _StoreSamples:
    """Some or all of what is stored: a sample has its number here, and its place among all that is stored."""

    def __init__(
        self,
        store: Store,
        min_confidence: float,
        weighing: Weighing,
        classes: ClassTable,
        offsets: tuple[int, ...],
        all_needed: bool,
        decisions: Path | None,
    ) -> None:
        self.classes = classes
        self.offsets = offsets
        self._store, self._weighing = store, weighing
        self._indices = store.indices
        self._entries = [store.manifest.shards[index] for index in self._indices]
        if not self._entries:
            raise DataError(f"{store.path}: a store without any sample; `propagate info` says why")
        # The label ids are checked here, by the counts in the manifest: reading a sample need not look again.
        known = {c.id for c in classes.classes}
        stored: list[SampleRecord] = []
        for shard, entry in zip(store.shards(), self._entries, strict=True):
            if set(entry.labels) - known:
                raise _unknown_ids(shard, known, classes)
            stored += shard.records
        self._stored = tuple(stored)
        where = str(store.path)
        self._neighbours = _neighbours(self._stored, offsets, where, all_needed=all_needed) if offsets else {}
        self._places: Sequence[int] = tuple(self._neighbours) if offsets else range(len(stored))
        if decisions is not None:
            self._places = _without_rejected(self._places, self._stored, store, decisions)
        self.records = tuple(stored[place] for place in self._places)
        self._starts = list(accumulate((entry.samples for entry in self._entries[:-1]), initial=0))
        self._too_unsure = np.arange(CONFIDENCE_LEVELS) / (CONFIDENCE_LEVELS - 1) < min_confidence
        self._shards = OpenShards(store)

    def size(self, number: int) -> tuple[int, int]:
        return self._size(self._places[number])

    def offsets_at(self, number: int) -> tuple[int, ...]:
        return tuple(self._neighbours.get(self._places[number], ()))

    def identities(self, number: int) -> Mapping[int, str]:
        place = self._places[number]
        return {offset: self._identity(at) for offset, at in {0: place, **self._neighbours.get(place, {})}.items()}

    def read(self, number: int, window: Window | None = None, offsets: Sequence[int] | None = None) -> Pixels:
        place = self._places[number]
        part = inside(window, self.size(number))
        label, weight = self._label(place, part)
        around = self._neighbours.get(place, {})
        return Pixels(
            self._frame(place, part),
            label,
            tuple(self._neighbour(around[each], place, part) for each in (around if offsets is None else offsets)),
            weight=weight,
        )

    def index(self, tile: int) -> ClassIndex:
        index = index_store(self._store, tile, classes=self.classes, records=self._stored)
        return select_samples(index, self._places) if len(self.records) < len(self._stored) else index

    def _identity(self, place: int) -> str:
        record = self._stored[place]
        return record.digest or f"{self._store.manifest.store_id} {place}"

    def _label(self, place: int, window: Window) -> tuple[np.ndarray, np.ndarray | None]:
        """[h,w] uint8 train ids, and what each counts, as in `Pixels`."""
        shard, row = self._open(place)
        rows, columns = window.slices
        of_level = self._weighing.of_levels(self._stored[place])
        try:
            label = self.classes.train_id_of[shard.array("label")[row, rows, columns]]
            if of_level is None and not self._too_unsure.any():
                return label, None
            levels = shard.array("confidence")[row, rows, columns]
        except UNREADABLE as error:
            raise self._unreadable(shard, place, error) from None
        label[self._too_unsure[levels]] = IGNORE_TRAIN_ID
        return label, None if of_level is None else of_level[levels]

    def _frame(self, place: int, window: Window) -> np.ndarray:
        """[h,w,3] uint8 RGB."""
        shard, row = self._open(place)
        rows, columns = window.slices
        try:
            if shard.images == "raw":
                return shard.array("image/pixels")[row, rows, columns]
            encoded = bytes(shard.image(row))
        except UNREADABLE as error:
            raise self._unreadable(shard, place, error) from None
        return self._decoded(encoded, place, shard)[rows, columns]

    def _neighbour(self, place: int, beside: int, window: Window) -> np.ndarray:
        """The frame of a sample at a place as that of a neighbour of the sample at another."""
        size, expected = self._size(place), self._size(beside)
        if size != expected:
            raise DataError(
                f"{self._store.path}: {self._name(place)} is of {size[0]}x{size[1]}, but its neighbour, "
                f"{self._name(beside)}, of {expected[0]}x{expected[1]}; frames of a sequence must have one size: make "
                "the store from such frames"
            )
        return self._frame(place, window)

    def _size(self, place: int) -> tuple[int, int]:
        return self._entries[self._number_of_shard(place)].size

    def _number_of_shard(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def _open(self, place: int) -> tuple[Shard, int]:
        """The shard that holds a sample, and the sample's row in it."""
        number = self._number_of_shard(place)
        return self._shards.get(self._indices[number]), place - self._starts[number]

    def _name(self, place: int) -> str:
        record = self._stored[place]
        return f"sample '{record.key}' (from '{record.source_key}', {record.pairing})"

    def _unreadable(self, shard: Shard, place: int, error: Exception) -> StoreError:
        return StoreError(f"{shard.path}: {self._name(place)} cannot be read ({error}); {ADVICE}")

    def _decoded(self, encoded: bytes, place: int, shard: Shard) -> np.ndarray:
        size = self._size(place)
        try:
            image = decode_frame(encoded, self._name(place))
        except InputError as error:
            raise StoreError(f"{shard.path}: {error}; {ADVICE}") from None
        if image.shape[:2] != size:
            raise StoreError(
                f"{shard.path}: {self._name(place)} has an image of {image.shape[0]}x{image.shape[1]}, expected "
                f"{size[0]}x{size[1]} as its shard; {ADVICE}"
            )
        return image


def _without_rejected(places: Sequence[int], stored: Sequence[SampleRecord], store: Store, path: Path) -> Sequence[int]:
    """The places of samples that the decisions of a file do not reject. Raises: DataError where none is left."""
    decisions = read_decisions(path)
    require_of(decisions, store, {identity_of(record): record.digest for record in stored}, str(path))
    kept = tuple(place for place in places if identity_of(stored[place]) not in decisions.rejected)
    num_rejected = len(places) - len(kept)
    if not kept:
        raise DataError(
            f"{path}: rejects all {num_rejected} samples of {store.path}; accept some, or use another store"
        )
    _log.warning(
        "%s: %d of %d samples are left out, since %s rejects them", store.path, num_rejected, len(places), path
    )
    return kept


def _neighbours(
    stored: Sequence[SampleRecord], offsets: tuple[int, ...], where: str, *, all_needed: bool
) -> dict[int, dict[int, int]]:
    """The places of the neighbours by offset, of each sample that has what it needs, by its own.

    Raises: DataError where there is none such.
    """
    places = {identity: place for place, record in enumerate(stored) for identity in _identities(record)}
    around = (
        {
            offset: places[identity]
            for offset in offsets
            for identity in _identities(record, offset)
            if identity in places
        }
        for record in stored
    )
    return find_neighbours(
        stored,
        around,
        offsets,
        all_needed=all_needed,
        where=where,
        there_is=f"samples have offsets {sorted({record.offset for record in stored})}",
        advice=f"store more with `propagate run --frames {max(map(abs, offsets))}`",
    )


def _identities(record: SampleRecord, offset: int = 0) -> Iterator[tuple[str, str, int]]:
    """Where the frame at an offset from a sample's own lies, from each frame that this is counted from."""
    yield record.source_key, record.pairing, record.offset + offset
    if record.second_source_key:
        yield record.second_source_key, record.pairing, record.second_offset + offset


def _unknown_ids(shard: Shard, known: set[int], classes: ClassTable) -> DataError:
    """The error of the first sample of a shard whose label ids the class table doesn't have."""
    of_sample = np.repeat(np.arange(len(shard)), shard.cell_runs[1])
    label_id = shard.column("cells/label_id")
    unknown = ~np.isin(label_id, list(known))
    first = of_sample[unknown].min()
    ids = np.unique(label_id[unknown & (of_sample == first)]).tolist()
    return DataError(
        f"{shard.path}: sample '{shard.records[first].key}' has label ids {ids}, which are not in the class table "
        f"'{classes.name}'; give the table of these labels"
    )
