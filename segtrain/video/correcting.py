"""Carried features, corrected by what early layers see of the frame, where the motion is doubtful.

Reference: Feng et al., "TWNet: Tamed Warping Network", equations 5 to 7.
"""

import torch
from torch import Tensor, nn

from segtrain.video.warping import LEVELS

BEGIN_BIAS = 2.0  # of the attention: sigmoid(2) = 0.88


class Correction(nn.Module):
    """``carried + attention ⊙ cfr([carried, lateral])``: a correction that begins as none.

    channels: of the carried features, and of the lateral ones, which are those of early layers at the same size. cues:
    channels of what the attention sees beside the residual's three: 1, where motion says what it does not know.
    attends: or the attention is 1.
    """

    def __init__(self, channels: int, lateral: int, *, cues: int = 1, attends: bool = True) -> None:
        super().__init__()
        self.cfr = nn.Conv2d(channels + lateral, channels, 3, padding=1)
        nn.init.zeros_(self.cfr.weight)
        nn.init.zeros_(self.cfr.bias)  # type: ignore[arg-type]
        self.rga: nn.Conv2d | None = None
        if attends:
            self.rga = nn.Conv2d(3 + cues, 1, 3, padding=1)
            nn.init.zeros_(self.rga.weight)
            nn.init.constant_(self.rga.bias, BEGIN_BIAS)  # type: ignore[arg-type]

    def forward(self, carried: Tensor, lateral: Tensor, *cues: Tensor) -> Tensor:
        """carried, lateral: [B,C,h,w]. cues, for the attention: [B,3,h,w], how much each cell differs from what is
        carried there, in grey levels; [B,1,h,w], the share of each cell that is not known."""
        correction = self.cfr(torch.cat((carried, lateral), dim=1))
        if self.rga is None:
            return carried + correction
        residual, *others = cues
        return carried + self.rga(torch.cat((residual / LEVELS, *others), dim=1)).sigmoid() * correction

    def findings(self) -> str:
        """What it has learnt, in words."""
        told = f"weights of the correction {self.cfr.weight.detach().abs().mean():.1e} in the mean, from 0"
        if self.rga is None:
            return told
        return f"{told}; those of the attention {self.rga.weight.detach().abs().mean():.1e}"


def consistency_loss(corrected: Tensor, expected: Tensor) -> Tensor:
    """How far corrected features are from those that the whole network finds in the frame itself: the mean square."""
    return (corrected.float() - expected.detach().float()).square().mean()
