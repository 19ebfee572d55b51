"""Carried labels, corrected by a trained network where it is surer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jobs.training.runtime import Runtime
from propagate.carry.carried import Carried
from propagate.carry.corrector import LabelCorrector
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable


@dataclass(frozen=True)
class NetworkCorrection:
    """A `LabelCorrection` by a network of these classes; what has no class stays as it is, and as sure.

    What it changes is as sure as it says; what it leaves may be less sure than it was, where it doubts, but not surer:
    a network that has learnt from few frames is too sure of itself. corrector: prepared by the runtime.
    """

    corrector: LabelCorrector
    classes: ClassTable
    runtime: Runtime

    def __call__(self, carried: Carried, targets: Tensor, keys: Sequence[str]) -> Carried:  # noqa: ARG002
        """Raises: ComputeError, where the memory is too small, or what comes out is not finite."""
        device = carried.label.device
        of_label = torch.from_numpy(self.classes.train_id_of).to(device)
        of_class = torch.from_numpy(self.classes.id_of_train_id).to(device, torch.uint8)
        classes = of_label[carried.label[:, 0].long()]
        found = self.runtime.run(self.corrector.decide, targets, classes, evidence_of(carried), gives="corrections")
        winner, probability = found[:, :1].to(torch.uint8), found[:, 1:]
        counts = (classes != IGNORE_TRAIN_ID)[:, None]
        least = torch.minimum(probability, carried.confidence)
        changed = counts & (winner != classes[:, None])  # a class may have several label ids: one that stays, stays
        return replace(
            carried,
            label=torch.where(changed, of_class[winner.long()], carried.label),
            confidence=torch.where(changed, probability, torch.where(counts, least, carried.confidence)),
        )


def evidence_of(carried: Carried) -> Tensor:
    """What a corrector is told of the pixels of N frames: [N,NUM_EVIDENCE,H,W] float32.

    Their confidence, how much the frames differ in grey levels, how far the pixel with the better claim is, in pixels,
    and whether they come from inside the annotated frame.
    """
    match = carried.match
    evidence = torch.cat((carried.confidence, match.difference, match.rival, match.is_inside.float()), dim=1)
    return evidence.nan_to_num_()  # a displacement may be NaN
