"""What a step of a training gives, and what an objective makes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jobs.errors import FitError
from jobs.training.task import Losses
from segtrain.data.batches import Batch
from segtrain.losses.settings import IMAGES_PER_GPU
from segtrain.models.network import NetworkOutput

# logits [B,C,H,W], train ids [B,H,W], epoch -> a scalar; where pixels weigh something else than 1, also [B,H,W] float
LabelLoss = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """What the network made of the annotated frames of a batch, and of those beside them.

    logits, auxiliary, features: of the annotated frames, as in `NetworkOutput`; features only of the stages that the
    objective wants. neighbours: the same of the frames beside them, in the order of the objective's offsets. teacher:
    a teacher's features of the same frames, the annotated one first, if there is one. flows, seen: [B,T-1,2,H,W] and
    [B,T-1,H,W], the motion of the annotated frame to its neighbours as in `Batch`, of pixels that both show, where it
    is known. batch: what the network was given, on the device of the logits. epoch: its number, from 0.
    """

    logits: Tensor
    auxiliary: Mapping[str, Tensor] = field(default_factory=dict)
    features: Mapping[str, Tensor] = field(default_factory=dict)
    neighbours: tuple[NetworkOutput, ...] = ()
    teacher: tuple[Mapping[str, Tensor], ...] = ()
    flows: Tensor | None = None
    seen: Tensor | None = None
    batch: Batch
    epoch: int


class Objective(Protocol):
    """What a training goes down.

    offsets: the frames beside the annotated one that it wants the network to see, relative to that. features: the
    stages of the network whose output it wants.
    """

    @property
    def offsets(self) -> tuple[int, ...]: ...

    @property
    def features(self) -> tuple[str, ...]: ...

    def __call__(self, output: StepOutput) -> Losses:
        """What the step costs."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelObjective:
    """A loss of the labels of the annotated frames, and of them again for each auxiliary output.

    auxiliary: the weight of the sum of the latter, whose logits are enlarged to the size of the labels.
    Reference: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.3, for auxiliary outputs.
    """

    loss: LabelLoss
    auxiliary: float = 0.4
    offsets: ClassVar[tuple[int, ...]] = ()
    features: ClassVar[tuple[str, ...]] = ()

    def __call__(self, output: StepOutput) -> Losses:
        """The loss as "loss", of which "loss/auxiliary" is the part of the auxiliary outputs, if there are any."""
        label, weight = output.batch.label, output.batch.weight
        told = (label, output.epoch) if weight is None else (label, output.epoch, weight)
        total = self.loss(output.logits, *told)
        if not output.auxiliary:
            return Losses(total, {"loss": total.detach()})
        enlarged = [
            F.interpolate(logits, size=label.shape[1:], mode="bilinear", align_corners=True)
            for logits in output.auxiliary.values()
        ]
        auxiliary = self.auxiliary * torch.stack([self.loss(logits, *told) for logits in enlarged]).sum()
        total = total + auxiliary
        return Losses(total, {"loss": total.detach(), "loss/auxiliary": auxiliary.detach()})


def any_epoch(loss: Callable[..., Tensor]) -> LabelLoss:
    """A loss that is the same in every epoch: of logits and labels, and of `weights` by name if it has any.

    The loss that is returned raises FitError for weights where it has none.
    """
    weighs = "weights" in signature(loss).parameters

    def of_epoch(logits: Tensor, labels: Tensor, _: int, weights: Tensor | None = None) -> Tensor:
        if weights is None:
            return loss(logits, labels)
        if not weighs:
            raise FitError(
                "the loss does not know what pixels weigh; give it a parameter `weights`, or leave out "
                "--weigh-by-confidence and --offset-weights"
            )
        return loss(logits, labels, weights=weights)

    return of_epoch


def mean_over_pairs(loss: LabelLoss) -> LabelLoss:
    """The mean of a loss over consecutive pairs of images: what the published trainings go down, over their GPUs.

    So a step depends neither on the number of workers nor on the parts that it is computed in, if each has whole pairs.
    The loss that is returned raises ValueError for an odd number of images.
    """

    def mean_of_losses(logits: Tensor, labels: Tensor, epoch: int, weights: Tensor | None = None) -> Tensor:
        if len(logits) % IMAGES_PER_GPU:
            raise ValueError(f"a published loss takes images in pairs, found {len(logits)}; give an even number")
        of_pairs = labels.split(IMAGES_PER_GPU)
        of_weights = [()] * len(of_pairs) if weights is None else [(each,) for each in weights.split(IMAGES_PER_GPU)]
        pairs = zip(logits.split(IMAGES_PER_GPU), of_pairs, of_weights, strict=True)
        return torch.stack([loss(of_logits, label, epoch, *weigh) for of_logits, label, weigh in pairs]).mean()

    return mean_of_losses
