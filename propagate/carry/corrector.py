"""A small network that knows what the classes of a data set look like, and corrects carried labels by that.

Motion cannot know what came into view; it makes the same mistakes at all frames far away. The network sees the frame,
the classes that were carried to it, and what speaks for and against them. It learns to tell from frames of the same
data set whose labels are known: see `propagate.fit`.

Reference for the idea: Ganeshan et al., "Warp-Refine Propagation", ICCV 2021.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (24, 32, 48, 64, 64)  # at half the frame's height and width, at a quarter, and so on
NUM_EVIDENCE = 4  # confidence, difference, rival, and whether it is inside
_CODE = 8  # channels that stand for a class
_STRIDE = 2 ** len(CHANNELS)
_GREY, _CONTRAST = 128.0, 64.0
_LEAST, _MOST = 0.02, 0.998  # confidence: surer labels can be wrong too


class LabelCorrector(nn.Module):
    """The log-probabilities of the classes at each pixel, given those that were carried there: a U-Net.

    A new one has nothing to add: each carried class is as probable as its confidence says. All of it happens at half
    the frame's height and width, and below: four pixels share a place there, side by side in the channels.

    Reference for the shape: Ronneberger et al., MICCAI 2015.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.code = nn.Embedding(num_classes + 1, _CODE)
        inputs = (4 * (3 + _CODE + NUM_EVIDENCE), *CHANNELS)
        self.down = nn.ModuleList(
            nn.Sequential(*_layer(below, above), *_layer(above, above)) for below, above in pairwise(inputs)
        )
        self.up = nn.ModuleList(
            nn.Sequential(*_layer(above + below, below)) for below, above in reversed([*pairwise(CHANNELS)])
        )
        self.changes = nn.Conv2d(CHANNELS[0], 4 * (num_classes + 1), 1)
        nn.init.zeros_(self.changes.weight)
        assert self.changes.bias is not None
        nn.init.zeros_(self.changes.bias)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"num_classes": self.num_classes}

    def forward(self, frames: Tensor, classes: Tensor, evidence: Tensor) -> Tensor:
        """[N,C,H,W] float32, of N frames [N,3,H,W] uint8 RGB.

        classes: carried, [N,H,W] uint8 train ids; others than those there are stand for none. evidence:
        [N,NUM_EVIDENCE,H,W] float32, as `evidence_of` has it.
        """
        height, width = classes.shape[-2:]
        classes = classes.long().clamp(max=self.num_classes)
        sure = evidence[:, :1].clamp(_LEAST, _MOST).logit()
        seen = torch.cat(
            (
                (frames.float() - _GREY) / _CONTRAST,
                self.code(classes).permute(0, 3, 1, 2),
                sure / 3,
                evidence[:, 1:2] / 8,
                evidence[:, 2:3].log1p() / 3,
                evidence[:, 3:],
            ),
            dim=1,
        )
        padding = (0, -width % _STRIDE, 0, -height % _STRIDE)
        features = functional.pixel_unshuffle(functional.pad(seen, padding, mode="replicate"), 2)
        finer: list[Tensor] = []
        for number, layers in enumerate(self.down):
            features = layers(functional.max_pool2d(features, 2) if number else features)
            finer.append(features)
        features = finer.pop()
        for layers in self.up:
            features = layers(torch.cat((functional.interpolate(features, scale_factor=2), finer.pop()), dim=1))
        changes = functional.pixel_shuffle(self.changes(features), 2)[..., :height, :width].float()
        carried = torch.arange(self.num_classes, device=classes.device).view(1, -1, 1, 1) == classes[:, None]
        others = math.log(max(1, self.num_classes - 1))
        return changes[:, :-1] + carried * (changes[:, -1:] + sure + others)

    def decide(self, frames: Tensor, classes: Tensor, evidence: Tensor) -> Tensor:
        """The most probable class of each pixel, a train id, and its probability: [N,2,H,W] float32."""
        probability, winner = self(frames, classes, evidence).softmax(dim=1).max(dim=1, keepdim=True)
        return torch.cat((winner, probability), dim=1)


def _layer(num_inputs: int, num_outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(num_inputs, num_outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(num_outputs), nn.ReLU(inplace=True)
