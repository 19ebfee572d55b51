"""Features of the frame before, warped and mixed with those of this one, by weights that are learnt: one module.

Reference: Gadde et al., "Semantic Video CNNs through Representation Warping", ICCV 2017.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from segtrain.video.registry import FORMS
from segtrain.video.warping import warp

STRIDE = 8  # pixels, of the published network's features


class Pooled(NamedTuple):
    """What FlowCNN reads, at the size of the features. flow_to_previous: [B,2,h,w]; frame, previous: [B,3,h,w]."""

    flow_to_previous: Tensor
    frame: Tensor
    previous: Tensor


def pooled_as_published(flow_to_previous: Tensor, frame: Tensor, previous: Tensor) -> Pooled:
    """As the published script reduces them, [B,2,H,W] and [B,3,H,W]: the maximum over 8x8 pixels of everything.

    Of the flow that is the signed maximum, each axis by itself, and its values stay in pixels of the image: it leads
    eight times too far, unless FlowCNN has learnt to divide.
    """
    return Pooled(
        *(functional.max_pool2d(each, STRIDE, STRIDE, ceil_mode=True) for each in (flow_to_previous, frame, previous))
    )


class FlowCNN(nn.Module):
    """A flow, transformed with both images in view: [B,2,h,w], in cells, as it is given.

    form: 'released', as in the published file, sees the frame, and the one before it warped; 'paper' sees both as they
    are, and their difference. It begins as the identity, also where autocast computes in half precision: the flow
    itself keeps its own. Inputs are what `Pooled` holds.
    """

    def __init__(self, form: str) -> None:
        """Raises: ValueError for a form that is none of FORMS."""
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"a FlowCNN has one of the forms {', '.join(FORMS)}, found '{form}'")
        self.form = form
        self.conv1 = nn.Conv2d(8 if form == "released" else 11, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 2, 3, padding=1)
        side = 1 if form == "released" else 3
        self.conv4 = nn.Conv2d(4, 2, side, padding=side // 2)
        for layer in (self.conv1, self.conv2, self.conv3):
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv4.weight)
        nn.init.zeros_(self.conv4.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.conv4.weight[[0, 1], [0, 1], side // 2, side // 2] = 1

    def forward(self, flow_to_previous: Tensor, frame: Tensor, previous: Tensor) -> Tensor:
        flow = flow_to_previous
        if self.form == "released":
            seen = torch.cat((flow, frame, warp(previous, flow)), dim=1)
        else:
            seen = torch.cat((flow, previous, frame, frame - previous), dim=1)
        correction = self.conv3(self.conv2(self.conv1(seen).relu()).relu())
        with torch.autocast(flow.device.type, enabled=False):
            return self.conv4(torch.cat((flow, correction.to(flow.dtype)), dim=1))


class Mixing(nn.Module):
    """``current ⊙ features + previous ⊙ warped``, a weight for each channel: it begins as the features alone.

    The warped features are those of the frame before, along the flow that `flow_cnn` gives.
    """

    def __init__(self, channels: int, form: str = "released") -> None:
        super().__init__()
        self.flow_cnn = FlowCNN(form)
        self.current = nn.Parameter(torch.ones(channels))
        self.previous = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, features_before: Tensor, pooled: Pooled, known: Tensor | None = None) -> Tensor:
        """features, features_before: [B,C,h,w], of the frame and of the one before it; pooled: at their size. known:
        [B,1,h,w] in [0,1], how much of each cell is; of the rest the features are as they are."""
        warped = warp(features_before, self.flow_cnn(*pooled))
        mixed = self.current[:, None, None] * features + self.previous[:, None, None] * warped
        return mixed if known is None else features + known * (mixed - features)

    def findings(self) -> str:
        """What it has learnt, in words."""
        current, previous = self.current.detach(), self.previous.detach()
        share = float(previous.abs().sum() / (current.abs() + previous.abs()).sum())
        told = (f"{each.mean():.3f} ({each.min():.3f} to {each.max():.3f})" for each in (current, previous))
        return "weights of the frame {}, of the one before it {}, whose share is {:.1%}".format(*told, share)
