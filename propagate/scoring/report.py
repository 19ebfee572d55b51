"""What an evaluation found: counts per offset, and the scores, JSON and table that follow from them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jobs.console.tables import Table
from jobs.console.values import finite, percent
from propagate.data.sample import CONFIDENCE_LEVELS
from propagate.scoring.metrics import MatrixScores, class_iou, mean_iou

_CONFIDENCE_BINS = 4


@dataclass(frozen=True)
class OffsetCounts:
    """The confusion matrices [C,C+1] of some samples: of whole frames, and of the band along boundaries."""

    samples: int
    whole: np.ndarray
    band: np.ndarray

    def __add__(self, other: "OffsetCounts") -> "OffsetCounts":
        return OffsetCounts(self.samples + other.samples, self.whole + other.whole, self.band + other.band)

    def scores(self) -> dict[str, float]:
        """Fractions in [0,1] by name; NaN where nothing was there to score."""
        return {**MatrixScores.of(self.whole).to_dict(), "trimap_miou": mean_iou(self.band)}


@dataclass(frozen=True)
class TruthFailure:
    """A truth that could not be used, and the sample that it was for."""

    key: str
    source_key: str
    offset: int
    path: str
    reason: str


@dataclass(frozen=True)
class ConfidenceBin:
    """Of the pixels with a confidence in [low, high): their share of all, and how many of them are right."""

    low: float
    high: float
    share: float
    right: float


@dataclass
class Report:
    """The counts of an evaluation. Samples are added one by one; every score is derived from the counts."""

    class_names: tuple[str, ...]
    per_offset: dict[int, OffsetCounts]
    reliability: np.ndarray  # [16,2] int64: per confidence level, the wrong and the right pixels
    failures: list[TruthFailure]
    without_truth: int = 0

    @classmethod
    def empty(cls, class_names: Sequence[str]) -> "Report":
        return cls(tuple(class_names), {}, np.zeros((CONFIDENCE_LEVELS, 2), np.int64), [])

    def add(self, offset: int, counts: OffsetCounts, reliability: np.ndarray) -> None:
        known = self.per_offset.get(offset)
        self.per_offset[offset] = counts if known is None else known + counts
        self.reliability = self.reliability + reliability

    @property
    def scored(self) -> int:
        return sum(counts.samples for counts in self.per_offset.values())

    @property
    def per_abs_offset(self) -> dict[int, OffsetCounts]:
        """The counts of both directions together, by |offset|."""
        pooled: dict[int, OffsetCounts] = {}
        for offset in sorted(self.per_offset, key=abs):
            counts, distance = self.per_offset[offset], abs(offset)
            pooled[distance] = pooled[distance] + counts if distance in pooled else counts
        return pooled

    @property
    def miou(self) -> float:
        """The mean mIoU over |offset|; NaN where nothing was scored."""
        return _mean(mean_iou(counts.whole) for counts in self.per_abs_offset.values())

    @property
    def classes(self) -> dict[str, float]:
        """IoU by class name over all samples; NaN for a class that neither truth nor labels hold."""
        num_classes = len(self.class_names)
        none = np.zeros((num_classes, num_classes + 1), np.int64)
        pooled = sum((counts.whole for counts in self.per_offset.values()), start=none)
        return dict(zip(self.class_names, class_iou(pooled).tolist(), strict=True))

    def error_rate(self, levels: slice) -> float:
        """The share of wrong pixels among those with these confidence levels; NaN where there are none."""
        wrong, right = self.reliability[levels].sum(axis=0).tolist()
        return wrong / (wrong + right) if wrong + right else math.nan

    def confidence_bins(self) -> list[ConfidenceBin]:
        """The reliability of the confidence, in quarters of [0,1]."""
        total = int(self.reliability.sum())
        step = CONFIDENCE_LEVELS // _CONFIDENCE_BINS
        bins = []
        for i in range(_CONFIDENCE_BINS):
            levels = slice(i * step, (i + 1) * step)
            share = int(self.reliability[levels].sum()) / total if total else math.nan
            low, high = i / _CONFIDENCE_BINS, (i + 1) / _CONFIDENCE_BINS
            bins.append(ConfidenceBin(low, high, share, 1 - self.error_rate(levels)))
        return bins

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: fractions in [0,1], null where there was nothing to score."""
        return finite(
            {
                "scored": self.scored,
                "without_truth": self.without_truth,
                "miou": self.miou,
                "offsets": {str(k): _entry(self.per_offset[k]) for k in sorted(self.per_offset)},
                "abs_offsets": {str(k): _entry(counts) for k, counts in self.per_abs_offset.items()},
                "classes": self.classes,
                "confidence": self._confidence_entry(),
                "failures": [asdict(failure) for failure in self.failures],
            }
        )

    def _confidence_entry(self) -> dict[str, Any]:
        half = CONFIDENCE_LEVELS // 2
        below, above = self.error_rate(slice(0, half)), self.error_rate(slice(half, None))
        return {
            "error_below_half": below,
            "error_above_half": above,
            "error_ratio": below / above if above else math.nan,
            "bins": [asdict(b) for b in self.confidence_bins()],
        }

    def table(self) -> str:
        """The scores in percent, in aligned columns, for people."""
        heads = ("offset", "samples", "mIoU", "covered mIoU", "accuracy", "coverage", "trimap mIoU")
        signed = [(f"{k:+d}", self.per_offset[k]) for k in sorted(self.per_offset)]
        pooled = [(f"±{k}", counts) for k, counts in self.per_abs_offset.items()]
        rows = [[name, str(c.samples), *map(_percent, c.scores().values())] for name, c in signed + pooled]
        rows.append(["mean ±", str(self.scored), _percent(self.miou)])
        ious = [[name, _percent(iou)] for name, iou in self.classes.items()]
        bins = [[f"{b.low:.2f} to {b.high:.2f}", _percent(b.share), _percent(b.right)] for b in self.confidence_bins()]
        parts = [
            Table(heads, rows).text(),
            Table(("class", "IoU"), ious).text(),
            Table(("confidence", "pixels", "right"), bins).text(),
            *(f"failed: {f.path}: {f.reason}" for f in self.failures),
            f"mIoU {_percent(self.miou)} %, the mean over |offset|: {self.scored} samples scored, "
            f"{self.without_truth} without truth, {len(self.failures)} failed",
        ]
        return "\n\n".join(parts)


def _percent(fraction: float) -> str:
    return percent(fraction, 1)


def _entry(counts: OffsetCounts) -> dict[str, Any]:
    return {"samples": counts.samples, **counts.scores()}


def _mean(values: Iterable[float]) -> float:
    """The mean of those that are not NaN; NaN where there are none."""
    present = [v for v in values if not math.isnan(v)]
    return sum(present) / len(present) if present else math.nan
