"""One pass over a store: a row per sample, and counts over all of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.data.clip import Label
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, PSEUDO, REASONS, Sample
from propagate.errors import StoreError
from propagate.review.legend import Legend
from propagate.review.rows import Rows
from propagate.review.verdict import verdict
from propagate.scoring.evaluate import score_sample
from propagate.scoring.metrics import accuracy, mean_iou
from propagate.scoring.ranking import rank_score_of_counts
from propagate.scoring.report import OffsetCounts, Report
from propagate.shards.identity import identity_of, numbers_by_identity
from propagate.shards.opening import ADVICE
from propagate.shards.reader import Store


@dataclass
class PixelCounts:
    """Counts of pixels over samples, by class index and level [C,16]: of each offset, and of the annotated frames.

    ignored: the class index of the ignored label id; in pseudo labels, which hold it where nothing is said, it does not
    count for an offset.
    """

    num_classes: int
    ignored: int
    by_offset: dict[int, np.ndarray] = field(default_factory=dict)
    annotated: np.ndarray = field(init=False)
    propagated: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.annotated = np.zeros((self.num_classes, CONFIDENCE_LEVELS), np.int64)
        self.propagated = self.annotated.copy()

    def add(self, sample: Sample, counts: np.ndarray) -> None:
        by_level = counts.sum(axis=0) - counts[self.ignored] * (sample.origin == PSEUDO)
        self.by_offset[sample.offset] = self.by_offset.get(sample.offset, 0) + by_level
        if sample.origin == ANNOTATED:
            self.annotated += counts
        else:
            self.propagated += counts

    def to_json(self) -> dict[str, Any]:
        """Shares: of levels by offset, and by class in what was propagated; of classes in either kind of samples."""
        by_class = {str(index): shares(counts) for index, counts in enumerate(self.propagated) if counts.any()}
        return {
            "by_offset": {str(offset): shares(self.by_offset[offset]) for offset in sorted(self.by_offset)},
            "by_class": by_class,
            "pixels": {
                "annotated": shares(self.annotated.sum(axis=1)),
                "propagated": shares(self.propagated.sum(axis=1)),
            },
        }


def shares(counts: np.ndarray) -> list[float]:
    """Of their sum; zeros where there is none."""
    return [round(float(share), 6) for share in counts / max(1, counts.sum())]


class Counterparts:
    """The samples of another store that are of the same source, offset and pairing. Raises: StoreError for none."""

    def __init__(self, store: Store, mine: Store) -> None:
        if store.manifest.classes != mine.manifest.classes:
            raise StoreError(
                f"{store.path}: its class table '{store.manifest.classes.name}' is not that of {mine.path}; compare "
                "stores of one table"
            )
        self.store = store
        self._numbers = numbers_by_identity(store)
        if not self._numbers.keys() & set(map(identity_of, mine.records())):
            raise StoreError(
                f"{store.path}: has no sample of the same source, offset and pairing as {mine.path}; compare stores of "
                "the same data set and split"
            )

    def label_of(self, sample: Sample) -> np.ndarray | None:
        """The label map, [H,W] uint8 label ids, that the other store has for it; None: none, or of another size."""
        number = self._numbers.get(identity_of(sample))
        if number is None:
            return None
        label = self.store.sample(number, images=False).label
        return label if label.shape == sample.label.shape else None


@dataclass(frozen=True)
class Survey:
    """What a pass over a store found. scores: against the truth, None where none was asked for."""

    legend: Legend
    rows: Rows
    pixels: PixelCounts
    has_reasons: bool
    scores: Report | None

    @property
    def verdict(self) -> str:
        return verdict(self.pixels.by_offset, self.scores)


def survey(
    store: Store,
    *,
    truths: Mapping[str, Label] | None = None,
    against: Counterparts | None = None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Survey:
    """Read the label map and the confidence of every sample, one in memory at a time.

    truths: true label maps by key. against: another store's samples. on_progress: called with the number of samples
    dealt with since its last call. Raises: StoreError.
    """
    legend, rows = Legend.of(store.manifest), Rows()
    classes = store.manifest.classes
    pixels, has_reasons = PixelCounts(len(legend), int(legend.index_of[classes.ignore_id])), False
    scores = None if truths is None else Report.empty(classes.train_names)
    for shard in store.shards():
        for number, record in enumerate(shard.records):
            sample = shard.sample(number, images=False)
            counts = count_pixels(sample, legend, f"{shard.path}: sample {number}")
            rows.add(sample, record.digest, counts, ranking_score(counts, legend))
            pixels.add(sample, counts)
            has_reasons |= sample.reason is not None
            found: OffsetCounts | None = None
            if truths is not None and scores is not None and sample.origin != ANNOTATED:
                found = score_sample(sample, truths.get(sample.key), classes, scores)
            miou, wrong = (math.nan, math.nan) if found is None else (mean_iou(found.whole), 1 - accuracy(found.whole))
            rows.judge(miou, wrong, math.nan if against is None else _difference(sample, against.label_of(sample)))
            on_progress(1)
    return Survey(legend, rows, pixels, has_reasons, scores)


def ranking_score(counts: np.ndarray, legend: Legend) -> float:
    """How good a sample probably is, in [0,1]: see `propagate.scoring.ranking`. counts: [C,16] by class index."""
    by_train_id = np.zeros((IGNORE_TRAIN_ID + 1, CONFIDENCE_LEVELS), np.int64)
    np.add.at(by_train_id, [c.train_id for c in legend.classes], counts)
    return rank_score_of_counts(by_train_id[:IGNORE_TRAIN_ID])


def count_pixels(sample: Sample, legend: Legend, where: str) -> np.ndarray:
    """[C,16] int64 pixels by class index and confidence level. Raises: StoreError for what is no level or class."""
    index = legend.index_of[sample.label]
    if sample.confidence.max() >= CONFIDENCE_LEVELS or index.max() >= len(legend):
        raise StoreError(f"{where}: has a level above {CONFIDENCE_LEVELS - 1}, or an unknown label id; {ADVICE}")
    if sample.reason is not None and sample.reason.max() >= len(REASONS):
        raise StoreError(f"{where}: has a reason above {len(REASONS) - 1}; {ADVICE}")
    bins = index * np.uint16(CONFIDENCE_LEVELS) + sample.confidence
    counts = np.bincount(bins.ravel(), minlength=len(legend) * CONFIDENCE_LEVELS)
    return counts.reshape(len(legend), CONFIDENCE_LEVELS)


def _difference(sample: Sample, other: np.ndarray | None) -> float:
    """The share of pixels whose label is another; NaN without another."""
    return math.nan if other is None else float((sample.label != other).mean())
