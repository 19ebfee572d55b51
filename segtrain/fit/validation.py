"""How well a network segments images that it was not trained on, in the middle of its training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed

from jobs.launch import Member
from propagate.metrics import accuracy, class_iou, confusion, mean_iou
from sdcnet.runtime import Runtime
from segtrain.data.dataset import SegmentationDataset
from segtrain.inference import Inference, segment
from segtrain.models.deeplab import DeepLabV3Plus


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of a validation; `iou` by class name, without those that neither occur nor were predicted."""

    miou: float
    accuracy: float
    iou: Mapping[str, float]
    num_images: int

    def __str__(self) -> str:
        return f"mIoU {self.miou:.4f}, accuracy {self.accuracy:.4f} on {self.num_images} images"


def spread(num_available: int, at_most: int | None) -> list[int]:
    """Numbers of images, evenly spread over all, or all of them."""
    wanted = min(num_available, at_most or num_available)
    return np.linspace(0, num_available - 1, wanted).round().astype(int).tolist()


def validate(
    network: DeepLabV3Plus,
    dataset: SegmentationDataset,
    numbers: Sequence[int],
    inference: Inference,
    runtime: Runtime,
    member: Member,
) -> Scores:
    """Score a network on these images; each member of a crew takes its share, and has the scores of all."""
    was_training = network.training
    network.eval()
    classes = dataset.classes.train_names
    matrix = np.zeros((len(classes), len(classes) + 1), np.int64)
    for number in numbers[member.rank :: member.num_members]:
        pixels = dataset.read(number)
        matrix += confusion(pixels.label, segment(network, pixels.image, inference, runtime), len(classes))
    network.train(was_training)
    if member.num_members > 1:
        total = torch.from_numpy(matrix).to(member.device)
        torch.distributed.all_reduce(total)
        matrix = total.cpu().numpy()
    iou = class_iou(matrix)
    return Scores(
        miou=mean_iou(matrix),
        accuracy=accuracy(matrix),
        iou={name: float(value) for name, value in zip(classes, iou, strict=True) if not np.isnan(value)},
        num_images=len(numbers),
    )
