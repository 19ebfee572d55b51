"""Carried features, corrected by what early layers see of the frame, where the motion is doubtful.

Reference: Feng et al., "TWNet: Tamed Warping Network", equations 5 to 7.
"""

import torch
from torch import Tensor, nn

LEVELS = 255.0  # grey levels, of residuals
BEGIN_BIAS = 2.0  # of the attention: sigmoid(2) = 0.88


class Correction(nn.Module):
    """``carried + attention ⊙ cfr([carried, lateral])``: a correction that begins as none.

    channels: of the carried features, and of the lateral ones, which are those of early layers at the same size. cues:
    channels of what the attention sees beside the residual's three: 1, where motion says what it does not know.
    """

    def __init__(self, channels: int, lateral: int, *, cues: int = 1) -> None:
        super().__init__()
        self.cfr = nn.Conv2d(channels + lateral, channels, 3, padding=1)
        self.rga = nn.Conv2d(3 + cues, 1, 3, padding=1)
        for layer in (self.cfr, self.rga):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.cfr.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.rga.bias, BEGIN_BIAS)  # type: ignore[arg-type]

    def forward(self, carried: Tensor, lateral: Tensor, residual: Tensor, *cues: Tensor) -> Tensor:
        """carried, lateral: [B,C,h,w]. residual: [B,3,h,w], how much each cell differs from what is carried there, in
        grey levels, without sign. cues: [B,1,h,w], the share of each cell that is not known."""
        attention = self.rga(torch.cat((residual / LEVELS, *cues), dim=1)).sigmoid()
        return carried + attention * self.cfr(torch.cat((carried, lateral), dim=1))


def consistency_loss(corrected: Tensor, expected: Tensor) -> Tensor:
    """How far corrected features are from those that the whole network finds in the frame itself: the mean square."""
    return (corrected - expected.detach()).square().mean()
