"""The scores that follow from counts along clips: how consistent in time labels are, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jobs.console.tables import Table
from jobs.console.values import percent
from propagate.scoring.metrics import accuracy, class_iou, mean_iou
from segtrain.evaluation.temporal import ClipCounts

NUM_RESAMPLES, SEED, SHARE_WITHIN = 1000, 0, 0.95
HEADS = ("TC", "95 % within", "mean of clips", "floor", "ceiling", "same labels", "pixels counted", "classes")


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """Temporal consistency (TC): the mIoU of carried against found labels, of one network or scheme on some clips.

    Counts of clips are added up. Classes that nowhere occur are left out; as published, they count as 0.
    """

    class_names: tuple[str, ...]
    clips: Sequence[ClipCounts]
    as_published: bool = False

    @cached_property
    def counts(self) -> np.ndarray:
        """[C,C+1], of all clips together."""
        return self._sum([clip.counts for clip in self.clips])

    @property
    def tc(self) -> float:
        return self._mean(self.counts)

    @property
    def floor(self) -> float:
        """The TC of the same labels if they are carried nowhere, of all pixels."""
        return self._mean(self._sum([clip.still for clip in self.clips]))

    @property
    def ceiling(self) -> float:
        """The TC of the truth itself, where it is known of two frames in succession; NaN where it nowhere is."""
        return self._mean(self._sum([clip.truth for clip in self.clips]))

    @property
    def mean_of_clips(self) -> float:
        """The mean of the clips' own TC, without those where nothing counts."""
        found = [tc for tc in map(self.tc_of, self.clips) if not math.isnan(tc)]
        return float(np.mean(found)) if found else math.nan

    @property
    def same(self) -> float:
        """The share of counted pixels that have the label that was carried there: rare classes hardly change it."""
        return accuracy(self.counts)

    @property
    def share_counted(self) -> float:
        """Of all pixels, those that both frames show."""
        num_pixels = sum(clip.num_pixels for clip in self.clips)
        return float(self.counts.sum() / num_pixels) if num_pixels else math.nan

    @property
    def num_classes(self) -> int:
        """Those that occur."""
        return int((~np.isnan(class_iou(self.counts))).sum())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Within which TC lies at 95 % by a bootstrap over clips, the same every time; NaN of fewer than two clips."""
        if len(self.clips) < 2:
            return math.nan, math.nan
        matrices = np.stack([clip.counts for clip in self.clips])
        hits = np.diagonal(matrices, axis1=1, axis2=2)
        unions = matrices.sum(axis=2) + matrices[:, :, :-1].sum(axis=1) - hits
        number = len(matrices)
        drawn = np.random.default_rng(SEED).multinomial(number, np.full(number, 1 / number), NUM_RESAMPLES)
        hits, unions = drawn @ hits, drawn @ unions
        is_there = unions > 0
        ious = np.divide(hits, unions, out=np.zeros(hits.shape), where=is_there)
        num_of_mean = np.full(NUM_RESAMPLES, len(self.class_names)) if self.as_published else is_there.sum(axis=1)
        means = ious.sum(axis=1)[num_of_mean > 0] / num_of_mean[num_of_mean > 0]  # some may draw what counts nothing
        if not means.size:
            return math.nan, math.nan
        outside = 100 * (1 - SHARE_WITHIN) / 2
        low, high = np.percentile(means, [outside, 100 - outside])
        return float(low), float(high)

    def tc_of(self, clip: ClipCounts) -> float:
        """Of one clip alone."""
        return self._mean(clip.counts)

    def class_scores(self) -> dict[str, dict[str, float]]:
        """TC, floor and ceiling of each class, by its name; NaN where it nowhere occurs."""
        columns = {
            "tc": class_iou(self.counts),
            "floor": class_iou(self._sum([clip.still for clip in self.clips])),
            "ceiling": class_iou(self._sum([clip.truth for clip in self.clips])),
        }
        return {
            name: {score: float(values[train_id]) for score, values in columns.items()}
            for train_id, name in enumerate(self.class_names)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, NaN among them."""
        return {
            "tc": self.tc,
            "interval": list(self.interval),
            "mean_of_clips": self.mean_of_clips,
            "floor": self.floor,
            "ceiling": self.ceiling,
            "same": self.same,
            "share_counted": self.share_counted,
            "num_classes": self.num_classes,
            "as_published": self.as_published,
            "classes": self.class_scores(),
            "clips": [
                {
                    "clip": clip.key,
                    "tc": self.tc_of(clip),
                    "pairs": clip.num_pairs,
                    "share_counted": float(clip.counts.sum() / clip.num_pixels),
                }
                for clip in self.clips
            ],
        }

    def cells(self) -> list[str]:
        """Below HEADS, in percent."""
        low, high = map(_percent, self.interval)
        return [
            _percent(self.tc),
            "–" if math.isnan(self.interval[0]) else f"{low} … {high}",
            *map(_percent, (self.mean_of_clips, self.floor, self.ceiling, self.same, self.share_counted)),
            f"{self.num_classes} of {len(self.class_names)}",
        ]

    def class_table(self) -> Table:
        """TC, floor and ceiling by class, in percent, of those that occur."""
        occurring = {name: each for name, each in self.class_scores().items() if not math.isnan(each["tc"])}
        rows = [[name, *map(_percent, scores.values())] for name, scores in occurring.items()]
        return Table(["class", "TC", "floor", "ceiling"], rows)

    def _sum(self, matrices: Sequence[np.ndarray]) -> np.ndarray:
        number = len(self.class_names)
        return sum(matrices, start=np.zeros((number, number + 1), np.int64))

    def _mean(self, counts: np.ndarray) -> float:
        """Deviation from the published program: it adds 1e-10 to unions, which the tenth digit may show."""
        if self.as_published and counts.any():
            return float(np.nan_to_num(class_iou(counts)).mean())
        return mean_iou(counts)


def _percent(fraction: float) -> str:
    return percent(fraction, 1, none="–")
