"""How much better corrected labels are than carried ones, on frames that a corrector has not learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
import torch

from jobs.training.runtime import Runtime
from propagate.carry.corrector import NEVER, LabelCorrector, ahead_of
from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.fit.examples import Example
from propagate.scoring.metrics import confusion, mean_iou

MARGINS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, NEVER)  # that are tried


@dataclass(frozen=True, kw_only=True)
class CorrectionScores:
    """mIoU over frames held out, of corrected labels and of those as they were carried, and the margin by
    which another class had to be more probable for that, as a logarithm.
    """

    miou: float
    miou_as_carried: float
    margin: float
    num_frames: int

    def __str__(self) -> str:
        before, after = (f"{100 * miou:.1f} %" for miou in (self.miou_as_carried, self.miou))
        if self.margin == NEVER:
            found = f"nothing is won: no label will be changed; mIoU as they were carried {before}"
        else:
            found = f"mIoU {after}, as they were carried {before}, with a margin of {self.margin:g}"
        return f"{found}, over {self.num_frames} frames held out"


def validate(network: LabelCorrector, held_out: Sequence[Example], runtime: Runtime) -> CorrectionScores:
    """Score a corrector with the best of the MARGINS, whichever mode it is in, as one that corrects would be used."""
    was_training = network.training
    network.eval()
    matrices = np.zeros((len(MARGINS), network.num_classes, network.num_classes + 1), np.int64)
    for example in held_out:
        frame, classes, evidence = example.frame[None], example.classes[None], example.evidence[None].float()
        found = runtime.run(network, frame, classes, evidence).cpu()
        winner, lead = ahead_of(found, classes[:, None].long().clamp(max=network.num_classes), dim=1)
        for matrix, margin in zip(matrices, MARGINS, strict=True):
            changes = (lead[:, 0] > margin) & (classes != IGNORE_TRAIN_ID)
            corrected = torch.where(changes, winner[:, 0].to(torch.uint8), classes)
            matrix += confusion(example.truth.numpy(), corrected[0].numpy(), network.num_classes)
    network.train(was_training)
    scores = [mean_iou(matrix) for matrix in matrices]
    if isnan(scores[-1]):  # no class is there
        scores = [0.0] * len(MARGINS)
    best = max(range(len(MARGINS)), key=lambda number: (scores[number], number))  # of equal ones the most careful
    return CorrectionScores(
        miou=scores[best], miou_as_carried=scores[-1], margin=MARGINS[best], num_frames=len(held_out)
    )
