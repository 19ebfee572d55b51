"""The video predictor: past frames and the flows between them -> how the last of them moves to the next.

A convolutional encoder and decoder refines the flow that it is given. `SDCNet2D` sees the past alone and predicts
the next frame; `SDCNet2DRecon` also sees that frame (the target) and reconstructs it. Parameter names, shapes and
numbers are those of the published networks.

Reference: Reda et al., ECCV 2018 (SDC-Net), as Zhu et al., CVPR 2019, use it: the displacement alone. The variants
with kernels are in `kernels`.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sdcnet.geometry import warp_frames
from sdcnet.networks.flownet2 import activated, convolution, normalized, pad_to_stride, require_finite

NARROWEST = 8  # channels of the published networks' thinnest layer, which no width goes below
FLOW_MEAN = (-0.94427323, -1.23077035)  # pixels; of the flows that the published networks were trained on
FLOW_STD = (13.77204132, 7.47463894)


class Prediction(NamedTuple):
    """What a predictor makes of a sequence: the displacement [B,2,H,W] in pixels, and the target [B,3,H,W] it gives."""

    flow_target_to_source: Tensor
    frame: Tensor


def _upsampling(in_channels: int, out_channels: int) -> nn.Sequential:
    return activated(nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1))


class VideoPredictor(nn.Module):
    """The network that both predictors are; they differ in whether it sees the target.

    `num_history` is how many frames before the target it sees. `width` scales the channels of the hidden layers;
    1 is the published width, and no layer gets fewer than 8.

    Quirks kept for parity with the published weights: frames are in BGR order (`rgb_frames.flip(2)` makes them so);
    the layers see all flows, then all frames, channel by channel (u1 u2 … v1 v2 …, b1 b2 b3 g1 …); flows are normalised
    by the statistics of one data set, kept as buffers, and by a factor of 3; a buffer `rgb_mean` is stored, never used.
    """

    sees_target: bool
    flow_mean: Tensor
    flow_std: Tensor

    def __init__(self, *, num_history: int = 2, width: float = 1.0) -> None:
        """Raises: ValueError where there would be no flow between two frames, or no width."""
        super().__init__()
        self.num_history = num_history
        self.width = width
        if self.num_frames < 2:
            raise ValueError(
                f"{type(self).__name__} needs flows, so two frames or more; found num_history {num_history}"
            )
        if not 0 < width < math.inf:
            raise ValueError(f"width must be a number above 0, found {width}")
        self.register_buffer("flow_mean", torch.tensor(FLOW_MEAN).view(1, 2, 1, 1))
        self.register_buffer("flow_std", torch.tensor(FLOW_STD).view(1, 2, 1, 1))
        self.register_buffer("rgb_mean", torch.zeros(1, 3, 1, 1))

        num_inputs = 2 * (self.num_frames - 1) + 3 * self.num_frames
        c8, c16, c32, c64, c128, c256, c512 = (max(NARROWEST, round(width * 2**power)) for power in range(3, 10))
        self.conv1 = convolution(num_inputs, c32, kernel_size=7, stride=2)
        self.conv2 = convolution(c32, c64, kernel_size=5, stride=2)
        self.conv3 = convolution(c64, c128, kernel_size=5, stride=2)
        self.conv3_1 = convolution(c128, c128)
        self.conv4 = convolution(c128, c256, stride=2)
        self.conv4_1 = convolution(c256, c256)
        self.conv5 = convolution(c256, c256, stride=2)
        self.conv5_1 = convolution(c256, c256)
        self.conv6 = convolution(c256, c512, stride=2)
        self.conv6_1 = convolution(c512, c512)
        self.deconv5 = _upsampling(c512, c256)
        self.deconv4 = _upsampling(c256 + c256, c128)
        self.deconv3 = _upsampling(c256 + c128, c64)
        self.deconv2 = _upsampling(c128 + c64, c32)
        self.deconv1 = _upsampling(c64 + c32, c16)
        self.deconv0 = _upsampling(c32 + c16, c8)
        self.final_flow = nn.Conv2d(num_inputs + c8, 2, 3, padding=1)

    @property
    def num_frames(self) -> int:
        """How many frames the network sees: the history and, in a reconstruction, the target."""
        return self.num_history + self.sees_target

    @property
    def settings(self) -> dict[str, Any]:
        """What makes another network of the same shapes: `type(network)(**network.settings)`."""
        return {"num_history": self.num_history, "width": self.width}

    def forward(self, frames: Tensor, flows: Tensor) -> Prediction:
        """The displacement, and the target frame that it makes of the last frame of the history; see `displacement`."""
        flow = self.displacement(frames, flows)
        return Prediction(flow, warp_frames(frames[:, self.num_history - 1].to(flow.dtype), flow))

    def displacement(self, frames: Tensor, flows: Tensor) -> Tensor:
        """How the target moved since the last frame of the history (the source): flow_target_to_source [B,2,H,W].

        frames [B,T,3,H,W], uint8 or float, 0…255, BGR: `num_frames` of them, oldest first. flows [B,T-1,2,H,W]
        pixels, of any origin: flow i is the backward flow from frame i+1 to frame i. The layers run in the dtype of
        their weights, or autocast's; what surrounds them in float32 at least, which is the dtype of the result.

        Frames are padded at the right and at the bottom to a multiple of 64, repeating their border, and the flow
        is cropped back; the means that are subtracted are those of the frames alone.

        Raises: ValueError, where the shapes are others, or values NaN.
        """
        flow, _ = self._displacement_and_features(frames, flows)
        return flow

    def _displacement_and_features(self, frames: Tensor, flows: Tensor) -> tuple[Tensor, Tensor]:
        """The displacement, and the features that it is predicted from, of the padded size; see `displacement`."""
        self._check(frames, flows)
        height, width = frames.shape[-2:]
        flows = flows.to(torch.promote_types(flows.dtype, torch.float32))
        mean, spread = self.flow_mean.to(flows.dtype), 3 * self.flow_std.to(flows.dtype)
        flow_channels = ((flows - mean[:, None]) / spread[:, None]).transpose(1, 2).flatten(1, 2)  # u1 u2 … v1 v2 …
        frame_channels = normalized(frames.to(flows.dtype).transpose(1, 2)).flatten(1, 2)
        inputs = pad_to_stride(torch.cat((flow_channels, frame_channels), dim=1))
        features = self._body(inputs.to(self.final_flow.weight.dtype))
        output = self.final_flow(features)[..., :height, :width]
        return output.to(flows.dtype) * spread + mean, features

    def _body(self, inputs: Tensor) -> Tensor:
        """[B,num_inputs,H,W] -> the inputs and the decoded [B,num_inputs+c8,H,W]; H and W are multiples of 64."""
        conv1 = self.conv1(inputs)
        conv2 = self.conv2(conv1)
        conv3 = self.conv3_1(self.conv3(conv2))
        conv4 = self.conv4_1(self.conv4(conv3))
        conv5 = self.conv5_1(self.conv5(conv4))
        decoded = self.deconv5(self.conv6_1(self.conv6(conv5)))
        decoded = self.deconv4(torch.cat((conv5, decoded), dim=1))
        decoded = self.deconv3(torch.cat((conv4, decoded), dim=1))
        decoded = self.deconv2(torch.cat((conv3, decoded), dim=1))
        decoded = self.deconv1(torch.cat((conv2, decoded), dim=1))
        decoded = self.deconv0(torch.cat((conv1, decoded), dim=1))
        return torch.cat((inputs, decoded), dim=1)

    def _check(self, frames: Tensor, flows: Tensor) -> None:
        name, num_frames = type(self).__name__, self.num_frames
        if frames.ndim != 5 or frames.shape[1:3] != (num_frames, 3):
            raise ValueError(f"{name} takes frames [B,{num_frames},3,H,W], found {list(frames.shape)}")
        expected = (len(frames), num_frames - 1, 2, *frames.shape[-2:])
        if flows.shape != expected:
            raise ValueError(f"{name} takes the flows between its frames, {list(expected)}, found {list(flows.shape)}")
        require_finite(frames, flows)


class SDCNet2D(VideoPredictor):
    """Prediction: from past frames and the flows between them alone."""

    sees_target = False


class SDCNet2DRecon(VideoPredictor):
    """Reconstruction: the target itself is the last frame that it sees."""

    sees_target = True
