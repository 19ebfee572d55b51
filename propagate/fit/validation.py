"""How much better corrected labels are than carried ones, on frames that a corrector has not learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jobs.training.runtime import Runtime
from propagate.carry.corrector import LabelCorrector
from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.fit.examples import Example
from propagate.scoring.metrics import confusion, mean_iou


@dataclass(frozen=True, kw_only=True)
class CorrectionScores:
    """mIoU over windows around wrong labels, of corrected labels and of those as they were carried."""

    miou: float
    miou_as_carried: float
    num_windows: int

    def __str__(self) -> str:
        return (
            f"mIoU {100 * self.miou:.1f} %, as they were carried {100 * self.miou_as_carried:.1f} %, in "
            f"{self.num_windows} windows around wrong labels of frames held out"
        )


def validate(network: LabelCorrector, held_out: Sequence[Example], runtime: Runtime) -> CorrectionScores:
    """Score a corrector, whichever mode it is in, as one that corrects would be used."""
    was_training = network.training
    network.eval()
    size = (network.num_classes, network.num_classes + 1)
    after, before = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for example in held_out:
        classes = example.classes[None]
        found = runtime.run(network.decide, example.frame[None], classes, example.evidence[None].float())[:, 0]
        corrected = torch.where(classes == IGNORE_TRAIN_ID, classes, found.cpu().to(torch.uint8))
        truth = example.truth.numpy()
        after += confusion(truth, corrected[0].numpy(), network.num_classes)
        before += confusion(truth, example.classes.numpy(), network.num_classes)
    network.train(was_training)
    return CorrectionScores(miou=mean_iou(after), miou_as_carried=mean_iou(before), num_windows=len(held_out))
