"""How well a network segments images that it was not trained on, in the middle of its training."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.runtime import Runtime
from propagate.scoring.metrics import accuracy, class_iou, confusion, mean_iou
from segtrain.data.dataset import SegmentationDataset
from segtrain.errors import InferenceError
from segtrain.evaluation.temporal import count_between, temporal_motion
from segtrain.inference import Inference, segment
from segtrain.models.network import SegmentationNetwork


@dataclass(frozen=True, kw_only=True)
class ValidationScores:
    """Of a validation; `iou` by class name, without those that neither occur nor were predicted. tc: the temporal
    consistency of the images with the frames before them, None where these were not looked at.
    """

    miou: float
    accuracy: float
    iou: Mapping[str, float]
    num_images: int
    tc: float | None = None

    @classmethod
    def of(
        cls, matrix: np.ndarray, class_names: Sequence[str], num_images: int, temporal: np.ndarray | None = None
    ) -> Self:
        """matrix: [C,C+1] counts, as in `propagate.scoring.metrics`; temporal: the same of `count_between`."""
        iou = zip(class_names, class_iou(matrix), strict=True)
        return cls(
            miou=mean_iou(matrix),
            accuracy=accuracy(matrix),
            iou={name: float(value) for name, value in iou if not np.isnan(value)},
            num_images=num_images,
            tc=mean_iou(temporal) if temporal is not None and temporal.any() else None,
        )

    def __str__(self) -> str:
        tc = "" if self.tc is None else f", TC {self.tc:.2%}"
        return f"mIoU {self.miou:.2%}, accuracy {self.accuracy:.2%}{tc}, of {self.num_images} images"


def spread(num_available: int, at_most: int | None) -> list[int]:
    """Numbers of images, evenly spread over all, or all of them."""
    wanted = min(num_available, at_most or num_available)
    return np.linspace(0, num_available - 1, wanted).round().astype(int).tolist()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode; then each layer is in the mode it was in: batch norms may be frozen while others learn."""
    learning = [layer for layer in network.modules() if layer.training]
    network.eval()
    try:
        yield
    finally:
        for layer in learning:
            layer.training = True


def predict(network: SegmentationNetwork, image: np.ndarray, inference: Inference, runtime: Runtime) -> np.ndarray:
    """What a network makes of an image in the middle of its training: [H,W,3] uint8 RGB -> [H,W] uint8 train ids.

    Raises: FitError where its scores are not finite, or the memory does not hold the image.
    """
    try:
        with evaluating(network):
            return segment(network, image, inference, runtime)
    except InferenceError as error:
        raise FitError(
            f"the network cannot be validated: {error}. Train anew with a lower --learning-rate or another --dtype, "
            "or give --val-window"
        ) from None


def validate(
    network: SegmentationNetwork,
    dataset: SegmentationDataset,
    numbers: Sequence[int],
    inference: Inference,
    runtime: Runtime,
    member: Member,
) -> ValidationScores:
    """Score the first member's network on these images; each member takes its share, and has the scores of all.

    Where images come with the frame before them, the temporal consistency of both is scored too, by dense inverse
    search, whichever motion the training uses.

    Raises: FitError where the network's scores are not finite, or the memory does not hold an image.
    """
    if member.num_members > 1:
        for statistic in network.buffers():  # without a GPU, each member's batch norms follow its own share
            torch.distributed.broadcast(statistic, 0)
    classes = dataset.classes.train_names
    matrix, temporal = np.zeros((2, len(classes), len(classes) + 1), np.int64)
    motion = temporal_motion()
    for number in numbers[member.rank :: member.num_members]:
        pixels = dataset.read(number)
        found = predict(network, pixels.image, inference, runtime)
        matrix += confusion(pixels.label, found, len(classes))
        for before in pixels.neighbours:
            labels = predict(network, before, inference, runtime), found
            temporal += count_between(_frame(before), _frame(pixels.image), labels, len(classes), motion)
    return ValidationScores.of(together(matrix, member), classes, len(numbers), together(temporal, member))


def _frame(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def together(matrix: np.ndarray, member: Member) -> np.ndarray:
    """The sum of what all members have counted."""
    if member.num_members == 1:
        return matrix
    total = torch.from_numpy(matrix).to(member.device)
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()
