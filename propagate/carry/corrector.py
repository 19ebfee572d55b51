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

from propagate.carry.refinement import LARGEST_SMALL

CHANNELS = (32, 32, 48, 64, 64)  # where cells are pixels, at half of that, and so on
NUM_EVIDENCE = 4  # confidence, difference, rival, and whether it is inside
_CODE = 8  # channels that stand for a class
_CONTRAST = 64.0  # grey levels
NEVER = 100.0  # a margin: nothing changes
_LEAST, _MOST = 0.02, 0.998  # confidence: surer labels can be wrong too


def cell_for(size: tuple[int, int]) -> int:
    """The cell of a corrector of frames of (H, W): of large ones, which take half the time so, it is larger."""
    return 2 if size[0] * size[1] <= LARGEST_SMALL else 4


class LabelCorrector(nn.Module):
    """The log-probabilities of the classes at each pixel, given those that were carried there: a U-Net.

    A new one has nothing to add: each carried class is as probable as its confidence says. cell: pixels are taken
    together in squares of so many a side, of which all that is known lies side by side in the channels. margin: by how
    much more probable another class has to be, as a logarithm.

    Reference for the shape: Ronneberger et al., MICCAI 2015.
    """

    def __init__(self, num_classes: int, cell: int) -> None:
        super().__init__()
        self.num_classes, self.cell = num_classes, cell
        self.code = nn.Embedding(num_classes + 1, _CODE)
        self.enter = nn.Linear(cell**2 * (3 + _CODE + NUM_EVIDENCE), CHANNELS[0])
        self.down = nn.ModuleList(
            nn.Sequential(*_layer(below, above), *_layer(above, above))
            for below, above in pairwise((CHANNELS[0], *CHANNELS))
        )
        self.up = nn.ModuleList(
            nn.Sequential(*_layer(above + below, below)) for below, above in reversed([*pairwise(CHANNELS)])
        )
        self.changes = nn.Linear(CHANNELS[0], cell**2 * (num_classes + 1))
        nn.init.zeros_(self.changes.weight)
        nn.init.zeros_(self.changes.bias)
        self.margin: Tensor
        self.register_buffer("margin", torch.zeros(()))

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"num_classes": self.num_classes, "cell": self.cell}

    def forward(self, frames: Tensor, classes: Tensor, evidence: Tensor) -> Tensor:
        """[N,C,H,W] float32, of N frames [N,3,H,W] uint8 RGB.

        classes: carried, [N,H,W] uint8 train ids; others than those there are stand for none. evidence:
        [N,NUM_EVIDENCE,H,W] float32, as `evidence_of` has it.
        """
        return self._pixels(self._in_cells(frames, classes, evidence)[0], classes)

    def decide(self, frames: Tensor, classes: Tensor, evidence: Tensor) -> Tensor:
        """The class of each pixel, a train id, and its probability: [N,2,H,W] float32.

        That which was carried, or the most probable one, if that is more probable by the margin.
        """
        found, carried = self._in_cells(frames, classes, evidence)
        winner, lead = ahead_of(found, carried, dim=3)
        changes = lead > self.margin
        share = torch.where(changes, 0, -lead).exp_()  # of what the most probable one has
        probability = share / found.sub_(found.amax(dim=3, keepdim=True)).exp_().sum(dim=3, keepdim=True)
        return self._pixels(torch.cat((torch.where(changes, winner, carried), probability), dim=3), classes)

    def _in_cells(self, frames: Tensor, classes: Tensor, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` returns, as [N,h,w,C,cell²]: a place for each cell, and its pixels beside each other.

        And the classes that were carried, as [N,h,w,1,cell²] int64, C where there is none.
        """
        height, width = classes.shape[-2:]
        padding = (0, -width % self._multiple, 0, -height % self._multiple)
        confidence, difference, rival, inside = evidence.split(1, dim=1)
        sure = confidence.clamp(_LEAST, _MOST).logit()
        seen = torch.cat((sure / 3, frames / _CONTRAST - 2, difference / 8, rival.log1p() / 3, inside), dim=1)
        seen = functional.pixel_unshuffle(functional.pad(seen, padding, mode="replicate"), self.cell)
        seen = seen.permute(0, 2, 3, 1).contiguous()
        classes = functional.pad(classes[:, None], padding, value=self.num_classes)
        classes = functional.pixel_unshuffle(classes, self.cell).permute(0, 2, 3, 1).int().clamp_(max=self.num_classes)
        features = self.enter(torch.cat((seen, self.code(classes).flatten(3)), dim=3))
        features = self._u_net(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        changes = self.changes(features).float().unflatten(3, (self.num_classes + 1, -1))
        sure = 3 * seen[..., : self.cell**2]
        bonus = changes[..., -1, :] + sure + math.log(max(1, self.num_classes - 1))
        carried = classes[..., None, :].long()
        return changes.scatter_add_(3, carried, bonus[..., None, :])[..., :-1, :], carried

    def _u_net(self, features: Tensor) -> Tensor:
        """[N,D,h,w] -> the same, of what lies around as well."""
        finer: list[Tensor] = []
        for number, layers in enumerate(self.down):
            features = layers(functional.max_pool2d(features, 2) if number else features)
            finer.append(features)
        features = finer.pop()
        for layers in self.up:
            features = layers(torch.cat((functional.interpolate(features, scale_factor=2), finer.pop()), dim=1))
        return features

    def _pixels(self, in_cells: Tensor, classes: Tensor) -> Tensor:
        """[N,h,w,D,cell²] as [N,D,H,W], of the size of the classes."""
        whole = functional.pixel_shuffle(in_cells.flatten(3).permute(0, 3, 1, 2), self.cell)
        return whole[..., : classes.shape[-2], : classes.shape[-1]]

    @property
    def _multiple(self) -> int:
        """Of the height and width of what the network sees."""
        return self.cell * 2 ** (len(CHANNELS) - 1)


def ahead_of(log_probability: Tensor, carried: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The most probable class, and by how much it is ahead of the one that was carried: both of size 1 in `dim`.

    log_probability: of C classes in `dim`. carried: of size 1 there, int64; C, where there is none: all are ahead.
    """
    most, winner = log_probability.max(dim=dim, keepdim=True)
    num_classes = log_probability.shape[dim]
    lead = most - log_probability.gather(dim, carried.clamp(max=num_classes - 1))
    return winner, lead.masked_fill_(carried == num_classes, torch.inf)


def _layer(num_inputs: int, num_outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(num_inputs, num_outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(num_outputs), nn.ReLU(inplace=True)
