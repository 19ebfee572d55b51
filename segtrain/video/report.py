"""What an evaluation of schemes found: counts and costs, and the scores, JSON and tables that follow from them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import mean, median
from typing import Any

import numpy as np

from jobs.console.tables import Table
from jobs.console.values import finite, percent
from propagate.data.classes import ClassTable
from propagate.scoring.metrics import accuracy, class_iou, mean_iou
from segtrain.evaluation.band import Band
from segtrain.evaluation.consistency import HEADS, Consistency
from segtrain.evaluation.metrics import frequency_weighted_iou, mean_class_accuracy
from segtrain.evaluation.report import LeftOut
from segtrain.evaluation.temporal import ClipCounts
from segtrain.evaluation.temporal_measure import told_motion


@dataclass(frozen=True)
class ScoredStep:
    """What a scored frame cost. is_full: as `Stepped.is_full`; motions: how many were asked for."""

    distance: int
    seconds: float
    macs: int
    is_full: bool
    motions: int


@dataclass(kw_only=True)
class SchemeScore:
    """The counts of one scheme.

    counts: by distance from the frame that was computed in full, confusion matrices [C,C+1] as in
    `propagate.scoring.metrics`. near: the same, of all distances, of the pixels near boundaries. temporal: of labels
    carried along the motion, clip by clip.
    motion_seconds: of one motion. shown: what was found in the frames of one clip, [H,W] uint8 train ids each.
    """

    title: str
    counts: dict[int, np.ndarray]
    near: np.ndarray
    class_names: tuple[str, ...]
    temporal: list[ClipCounts] = field(default_factory=list)
    steps: list[ScoredStep] = field(default_factory=list)
    motion_seconds: float = 0.0
    shown: list[np.ndarray] = field(default_factory=list)

    @cached_property
    def total(self) -> np.ndarray:
        """Of all distances together, each of which counts alike: where a frame may lie is as likely as anywhere."""
        return sum(self.counts.values(), start=np.zeros_like(self.near))

    @property
    def consistency(self) -> Consistency:
        """In time."""
        return Consistency(class_names=self.class_names, clips=self.temporal)

    @property
    def by_distance(self) -> dict[int, float]:
        """mIoU."""
        return {distance: mean_iou(counts) for distance, counts in self.counts.items()}

    @property
    def scores(self) -> dict[str, float]:
        """Fractions in [0,1] by name; NaN where nothing was there to score."""
        return {
            "miou": mean_iou(self.total),
            "worst_miou": min(self.by_distance.values()),
            "accuracy": accuracy(self.total),
            "mean_class_accuracy": mean_class_accuracy(self.total),
            "frequency_weighted_iou": frequency_weighted_iou(self.total),
            "trimap_miou": mean_iou(self.near),
            "temporal_miou": self.consistency.tc,
            "temporal_same": self.consistency.same,
        }

    @property
    def costs(self) -> dict[str, float]:
        """Milliseconds of the network, and GMACs, of frames computed in full and of others, and of any in the mean.

        milliseconds: of the network and the motion that it asked for. Of the frames at one distance the median counts.
        """
        full = [step for step in self.steps if step.is_full]
        other = [step for step in self.steps if not step.is_full]
        of_network = mean(self._medians())
        motions = [step.motions for step in self.steps]
        return {
            "milliseconds": 1000 * (of_network + mean(motions) * self.motion_seconds),
            "network_milliseconds": 1000 * of_network,
            "full_milliseconds": 1000 * _median(full),
            "other_milliseconds": 1000 * _median(other),
            "motion_milliseconds": 1000 * self.motion_seconds * mean(filter(None, motions)) if any(motions) else 0.0,
            "gmacs": mean(step.macs for step in self.steps) / 1e9,
            "full_gmacs": _mean_gmacs(full),
            "other_gmacs": _mean_gmacs(other),
            "full_share": len(full) / len(self.steps),
        }

    def _medians(self) -> list[float]:
        return [
            _median([step for step in self.steps if step.distance == distance])
            for distance in sorted({step.distance for step in self.steps})
        ]


@dataclass(frozen=True, kw_only=True)
class VideoReport:
    """Several schemes on the same clips. decode_seconds: of a frame. device: in words. macs: of each stage of the
    network, for a frame of `size`, which is (H, W) in the first clip. temporal_motion: the fingerprint of that by which
    consistency in time is measured. band: the pixels that are near boundaries.
    is_tiled: whether frames were seen in tiles. frames: of the clip that is shown, [H,W,3] uint8 RGB each.
    """

    classes: ClassTable
    clips: int
    size: tuple[int, int]
    motion: str
    temporal_motion: Mapping[str, object]
    device: str
    decode_seconds: float
    macs: Mapping[str, int]
    schemes: Sequence[SchemeScore]
    band: Band
    is_tiled: bool
    frames: Sequence[np.ndarray]
    failures: tuple[LeftOut, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which has no NaN: None stands for it."""
        return {
            "clips": self.clips,
            "height": self.size[0],
            "width": self.size[1],
            "motion": self.motion,
            "temporal_motion": dict(self.temporal_motion),
            "device": self.device,
            "decode_milliseconds": 1000 * self.decode_seconds,
            "band": self.band.width,
            "band_shape": self.band.shape,
            "tiles": self.is_tiled,
            "stage_gmacs": {stage: macs / 1e9 for stage, macs in self.macs.items()},
            "schemes": [self._scheme(score) for score in self.schemes],
            "failures": [asdict(failure) for failure in self.failures],
        }

    def _scheme(self, score: SchemeScore) -> dict[str, Any]:
        return {
            "scheme": score.title,
            **finite(score.scores),
            "miou_by_distance": finite({str(distance): miou for distance, miou in score.by_distance.items()}),
            **finite(score.costs),
            "temporal": finite(score.consistency.to_dict()),
            "classes": finite(dict(zip(self.classes.train_names, class_iou(score.total).tolist(), strict=True))),
        }

    def tables(self) -> list[Table]:
        """Scores, costs, consistency in time, mIoU by distance, and IoU by class; in percent."""
        distances = sorted({distance for score in self.schemes for distance in score.counts})
        titles = [score.title for score in self.schemes]
        ious = [class_iou(score.total) for score in self.schemes]
        trimap = f"trimap mIoU, {self.band.title}"
        return [
            Table(
                ["scheme", "mIoU", "worst", "accuracy", "class accuracy", "fw IoU", trimap, "TC", "same labels"],
                [[score.title, *map(_percent, score.scores.values())] for score in self.schemes],
            ),
            Table(
                ["scheme", "ms", "network", "full", "other", "motion", "GMAC", "full", "other", "full frames"],
                [[score.title, *_costs(score.costs)] for score in self.schemes],
            ),
            Table(["scheme", *HEADS], [[score.title, *score.consistency.cells()] for score in self.schemes]),
            Table(
                ["mIoU at distance", *map(str, distances)],
                [
                    [score.title, *(_percent(score.by_distance.get(distance, float("nan"))) for distance in distances)]
                    for score in self.schemes
                ],
            ),
            Table(
                ["class", *titles],
                [[name, *(_percent(iou[row]) for iou in ious)] for row, name in enumerate(self.classes.train_names)],
            ),
        ]

    def markdown(self) -> str:
        height, width = self.size
        seen = ", in tiles" if self.is_tiled else ""
        told = (
            f"{self.clips} clips of {height}x{width}{seen}, motion {self.motion}, on {self.device}; decoding takes "
            f"{1000 * self.decode_seconds:.1f} ms a frame more. TC: mIoU of labels, found as for mIoU, carried from "
            f"the frame before along the motion {told_motion(self.temporal_motion)}, whichever the schemes use; of all "
            "clips together."
        )
        parts = [told, *(table.markdown() for table in self.tables())]
        if self.failures:
            parts.append("\n".join(f"- left out: {failure.reason}" for failure in self.failures))
        return "\n\n".join(parts)


def _median(steps: Sequence[ScoredStep]) -> float:
    return median(step.seconds for step in steps) if steps else float("nan")


def _mean_gmacs(steps: Sequence[ScoredStep]) -> float:
    return mean(step.macs for step in steps) / 1e9 if steps else float("nan")


def _percent(fraction: float) -> str:
    return percent(fraction, 1, none="–")


def _costs(costs: Mapping[str, float]) -> list[str]:
    *numbers, share = costs.values()
    return [*("–" if number != number else f"{number:.1f}" for number in numbers), f"{100 * share:.0f} %"]
