"""What a training is told of before it begins, and where its networks lie when it is done."""

from dataclasses import dataclass
from typing import Any

from segtrain.data.dataset import SegmentationDataset
from segtrain.data.index import ClassIndex
from segtrain.data.sampling import Epoch, build_epoch
from segtrain.fit.config import FitConfig
from segtrain.fit.sources import open_sampling

LAST, BEST = "last.safetensors", "best.safetensors"  # in the run folder: as of the last checkpoint, of the best mIoU


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every member of a crew is told."""

    config: FitConfig
    settings: dict[str, Any]
    training: SegmentationDataset
    held_out: SegmentationDataset | None
    index: ClassIndex

    def epoch(self, number: int) -> Epoch:
        return build_epoch(
            self.index, open_sampling(self.config, self.training.classes), seed=self.config.seed, epoch=number
        )
