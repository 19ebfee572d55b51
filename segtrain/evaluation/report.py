"""What an evaluation of a network found: counts, and the scores, JSON and table that follow from them."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console.tables import Table
from jobs.console.values import finite, percent
from jobs.files import write_whole
from propagate.scoring.metrics import accuracy, class_iou, mean_iou
from segtrain.errors import InferenceError
from segtrain.evaluation.band import Band
from segtrain.evaluation.instances import class_iiou
from segtrain.evaluation.metrics import class_precision, class_recall, frequency_weighted_iou, mean_class_accuracy


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An image that was left out, and why; the reason names its file."""

    image: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SegmentationReport:
    """The counts over all images of an evaluation; every score is derived from them.

    whole, near: confusion matrices [C,C+1] as in `propagate.scoring.metrics`, of all pixels and of those in the band
    along boundaries. instances: [C,2] as in `count_instances`, None where there are no maps of
    instances. missing: images that no part has dealt with yet.
    """

    class_names: tuple[str, ...]
    images: int
    whole: np.ndarray
    near: np.ndarray
    band: Band
    instances: np.ndarray | None
    failures: tuple[LeftOut, ...]
    missing: int = 0

    @property
    def scores(self) -> dict[str, float]:
        """Fractions in [0,1] by name; NaN where nothing was there to score."""
        scores = {
            "miou": mean_iou(self.whole),
            "accuracy": accuracy(self.whole),
            "mean_class_accuracy": mean_class_accuracy(self.whole),
            "frequency_weighted_iou": frequency_weighted_iou(self.whole),
            "trimap_miou": mean_iou(self.near),
        }
        if self.instances is not None:
            iiou = class_iiou(self.instances, self.whole)
            scores["iiou"] = float(np.nanmean(iiou)) if not np.isnan(iiou).all() else math.nan
        return scores

    @property
    def class_scores(self) -> dict[str, dict[str, float]]:
        """The same for each class, by its name."""
        columns = {
            "iou": class_iou(self.whole),
            "recall": class_recall(self.whole),
            "precision": class_precision(self.whole),
            "trimap_iou": class_iou(self.near),
        }
        if self.instances is not None:
            columns["iiou"] = class_iiou(self.instances, self.whole)
        return {
            name: {score: float(values[train_id]) for score, values in columns.items()}
            for train_id, name in enumerate(self.class_names)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which has no NaN: None stands for it."""
        scores = {**self.scores, "iiou": self.scores.get("iiou", math.nan)}
        return {
            "images": self.images,
            "band": self.band.width,
            "band_shape": self.band.shape,
            **finite(scores),
            "classes": finite(self.class_scores),
            "failures": [asdict(failure) for failure in self.failures],
        }

    def markdown(self) -> str:
        """The scores, as two Markdown tables."""
        titles = {
            "miou": "mIoU",
            "iou": "IoU",
            "accuracy": "accuracy",
            "mean_class_accuracy": "mean class accuracy",
            "frequency_weighted_iou": "frequency-weighted IoU",
            "recall": "recall",
            "precision": "precision",
            "trimap_miou": f"trimap mIoU, {self.band.title}",
            "trimap_iou": f"trimap IoU, {self.band.title}",
            "iiou": "iIoU",
        }
        overall, classes = self.scores, self.class_scores
        heads = [titles[name] for name in overall]
        parts = [Table(["images", *heads], [[str(self.images), *map(_percent, overall.values())]]).markdown()]
        rows = [[name, *map(_percent, row.values())] for name, row in classes.items()]
        parts.append(Table(["class", *(titles[score] for score in next(iter(classes.values())))], rows).markdown())
        if self.failures:
            parts.append("\n".join(f"- left out: {failure.reason}" for failure in self.failures))
        return "\n\n".join(parts)


def write_markdown(text: str, path: Path) -> None:
    """Write the tables of reports to a file. Raises: InferenceError where it cannot be written."""
    try:
        write_whole(path, (text + "\n").encode())
    except OSError as error:
        raise InferenceError(f"{path}: cannot be written ({error.strerror}); choose another file") from None


def _percent(fraction: float) -> str:
    return "–" if math.isnan(fraction) else f"{percent(fraction, 2)} %"
