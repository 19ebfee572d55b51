"""How fast what a network's stages give changes from frame to frame: what clocks live on.

Reference: Shelhamer et al., Clockwork Convnets for Video Semantic Segmentation, 2016, section on frame differencing.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segtrain.models.network import IMAGE, SegmentationNetwork, run_stages
from segtrain.video.signals import argmax_difference, classes_of, relative_difference
from segtrain.video.stepper import Seen


class Change(NamedTuple):
    """Between a frame and the one before it.

    relative: of each stage's output, and of the image as IMAGE, the mean relative difference of its elements, 0…2.
    classes: of each stage that scores classes, the share of places where another class is the best.
    """

    relative: dict[str, float]
    classes: dict[str, float]


def changes(network: SegmentationNetwork, frames: Iterable[Seen], stages: Sequence[str]) -> list[Change]:
    """Of each frame but those that are new. stages: of which there are such differences.

    Whole outputs are compared, as published: where a family has a border around the image, with the border.
    """
    found: list[Change] = []
    before: dict[str, Tensor] = {}
    for seen in frames:
        with torch.inference_mode():
            outputs = run_stages(network.stages, seen.image)
        now = {name: outputs[name] for name in (IMAGE, *stages)}
        if not seen.is_new:
            scores = [name for name in stages if now[name].shape[1] == network.num_classes]
            found.append(
                Change(
                    {name: float(relative_difference(now[name], before[name])) for name in now},
                    {
                        name: float(argmax_difference(classes_of(now[name]), classes_of(before[name])))
                        for name in scores
                    },
                )
            )
        before = now
    return found
