"""Video predictors that also filter: for every pixel a displacement, and a kernel applied around where it points.

A displacement alone can only move the source's pixels. A kernel of a pixel's own can also blur, sharpen and brighten
them, and so show what a change of focus, of speed or of light makes of them.

Reference: SDC-Net, Reda et al., ECCV 2018 (arXiv 1811.00684), section 3, with separable kernels. With the kernel that
leaves an image as it is, this is a displacement alone: `predictor`, which these networks share the body with.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdcnet.networks.ops import displaced_convolution
from sdcnet.networks.predictor import Prediction, VideoPredictor

KERNEL_SIZE = 11  # the paper's


class DisplacedKernels(nn.Module):
    """Predicts two 1-D kernels for every pixel, and filters the source with them around the displaced position.

    They are predicted as what they differ by from the kernel that changes nothing, 1 in the middle and 0 elsewhere:
    so half precision costs no brightness, and weight decay no light. A new one differs by nothing, whatever the
    features. Taps may be negative, and have any sum.
    """

    def __init__(self, in_channels: int, kernel_size: int) -> None:
        """Raises: ValueError where no tap would be in the middle."""
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that a kernel has a middle; found {kernel_size}")
        self.kernel_size = kernel_size
        self.vertical = nn.Conv2d(in_channels, kernel_size, 3, padding=1)
        self.horizontal = nn.Conv2d(in_channels, kernel_size, 3, padding=1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)  # and still each learns: its gradient holds the other's kernel, which is not 0

    def forward(self, features: Tensor, source: Tensor, flow_target_to_source: Tensor) -> Tensor:
        """The target [B,3,H,W] that the source [B,3,H,W] gives, whose border is repeated.

        features [B,in_channels,H',W']: what lies right of W and below H is padding. The layers run in the dtype of
        their weights, or autocast's; the source is filtered in its own.
        """
        height, width = source.shape[-2:]
        middle = self.kernel_size // 2
        unchanging = (torch.arange(self.kernel_size, device=source.device) == middle).view(-1, 1, 1)
        vertical, horizontal = (
            layer(features)[..., :height, :width].to(source.dtype) + unchanging
            for layer in (self.vertical, self.horizontal)
        )
        padded = F.pad(source, [middle] * 4, mode="replicate")
        return displaced_convolution(padded, vertical, horizontal, flow_target_to_source)


class KernelPredictor(VideoPredictor):
    """The network of both predictors with kernels; see `VideoPredictor`, of which it has all parameters by their names.

    It differs from the paper's, which encodes frames and flows by 3-D convolutions over time: the body is the 2-D one
    of the published displacement networks, and a layer for each kernel reads the features that the displacement is
    predicted from. So the published weights are a start for it (`with_kernels`).

    Train as the paper does, in three stages, so that kernels do not learn motion in place of the displacement: the
    displacement, without kernels; then the kernels, all else frozen (`network.requires_grad_(False)`, then
    `network.kernels.requires_grad_(True)`); then everything.

    Labels are carried by the displacement alone, since a label can't be filtered. This leaves out what the kernels do:
    where they read from beside the displaced position (up to kernel_size // 2 pixels, or across an edge, as they learn
    to where something comes into view), the frame shows what lies there, and the label map does not follow.
    """

    def __init__(self, *, num_history: int = 2, width: float = 1.0, kernel_size: int = KERNEL_SIZE) -> None:
        """Raises: ValueError as VideoPredictor does, and where kernels would have no middle."""
        super().__init__(num_history=num_history, width=width)
        self.kernels = DisplacedKernels(self.final_flow.in_channels, kernel_size)

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "kernel_size": self.kernels.kernel_size}

    def forward(self, frames: Tensor, flows: Tensor) -> Prediction:
        """As `VideoPredictor.forward`, the frame filtered: the displacement does not depend on the kernels."""
        flow, features = self._displacement_and_features(frames, flows)
        source = frames[:, self.num_history - 1].to(flow.dtype)
        return Prediction(flow, self.kernels(features, source, flow))


class SDCNet2DKernels(KernelPredictor):
    """Prediction with kernels: from past frames and the flows between them alone."""

    sees_target = False


class SDCNet2DReconKernels(KernelPredictor):
    """Reconstruction with kernels: the target itself is the last frame that it sees."""

    sees_target = True


def with_kernels(predictor: VideoPredictor, kernel_size: int = KERNEL_SIZE) -> KernelPredictor:
    """A copy of a predictor, on its device and in its dtype, with kernels that change nothing yet.

    Raises: ValueError, where it has kernels already, or the new ones would have no middle.
    """
    if isinstance(predictor, KernelPredictor):
        raise ValueError(f"with_kernels takes a predictor that has none yet, found {type(predictor).__name__}")
    kind = SDCNet2DReconKernels if predictor.sees_target else SDCNet2DKernels
    network = kind(**predictor.settings, kernel_size=kernel_size).to(predictor.final_flow.weight)
    network.load_state_dict({**network.state_dict(), **predictor.state_dict()})
    return network.train(predictor.training)
