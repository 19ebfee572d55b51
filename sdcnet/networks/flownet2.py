"""FlowNet2: dense optical flow from a cascade of convolutional networks.

The parameters have the names and shapes of the published weights. All networks work on frames whose means are
subtracted, in units of 1/20 pixel, and are coarse to fine: an encoder halves the frame up to six times, and from its
coarsest features each level predicts a flow that the next one refines.

Reference: FlowNet 2.0, Ilg et al., CVPR 2017; FlowNetC and FlowNetS are those of Dosovitskiy et al., ICCV 2015.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdcnet.geometry import warp_frames
from sdcnet.networks.ops import channel_norm, correlation

STRIDE = 64  # the networks need frames of a multiple of it
FLOW_SCALE = 20  # pixels to a network's unit of flow
SLOPE = 0.1


def activated(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.LeakyReLU(SLOPE, inplace=True))


def convolution(in_channels: int, out_channels: int, *, kernel_size: int = 3, stride: int = 1) -> nn.Sequential:
    return activated(nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2))


class CoarseToFine(nn.Module):
    """The decoder that all networks share; its layers lie beside those of the encoder.

    Level l has 1/2^l of the frame's size. At each level but the coarsest, the encoder's features, the upsampled
    features of the level before and its upsampled flow are joined, and the level's flow is predicted from them.
    """

    def add_decoder(
        self, encoder_channels: dict[int, int], decoder_channels: dict[int, int], *, smooth: bool, bias: bool
    ) -> None:
        """Make the layers. Both dictionaries have an entry a level, coarsest first; the decoder has no coarsest.

        With `smooth` a convolution without activation comes between the joined features and the flow; `bias` is
        that of the layers which upsample flows.
        """
        self.smooth = smooth
        self.levels = tuple(encoder_channels)
        coarsest, *finer = self.levels
        joined = {coarsest: encoder_channels[coarsest]}
        joined |= {level: encoder_channels[level] + decoder_channels[level] + 2 for level in finer}
        for level in finer:
            upsample = nn.ConvTranspose2d(joined[level + 1], decoder_channels[level], 4, 2, 1)
            self.add_module(f"deconv{level}", activated(upsample))
        if smooth:
            for level in finer:
                convolve = nn.Conv2d(joined[level], decoder_channels[level], 3, 1, 1)
                self.add_module(f"inter_conv{level}", nn.Sequential(convolve))
        predicted_from = joined | decoder_channels if smooth else joined
        for level in self.levels:
            self.add_module(f"predict_flow{level}", nn.Conv2d(predicted_from[level], 2, 3, 1, 1))
        for level in finer:
            self.add_module(f"upsampled_flow{level + 1}_to_{level}", nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=bias))

    def decode(self, encoded: list[Tensor]) -> list[Tensor]:
        """The encoder's features, coarsest first -> the flow of each level, finest first."""
        features = encoded[0]
        flows = [self.get_submodule(f"predict_flow{self.levels[0]}")(features)]
        for level, skip in zip(self.levels[1:], encoded[1:], strict=True):
            upsampled_flow = self.get_submodule(f"upsampled_flow{level + 1}_to_{level}")(flows[-1])
            features = torch.cat((skip, self.get_submodule(f"deconv{level}")(features), upsampled_flow), dim=1)
            source = self.get_submodule(f"inter_conv{level}")(features) if self.smooth else features
            flows.append(self.get_submodule(f"predict_flow{level}")(source))
        return flows[::-1]


class DeepFlowNet(CoarseToFine):
    """What FlowNetC, S and SD have in common: the encoder from level 4 on, and the decoder."""

    def add_deep_layers(self, *, smooth: bool = False, bias: bool = True) -> None:
        self.conv4 = convolution(256, 512, stride=2)
        self.conv4_1 = convolution(512, 512)
        self.conv5 = convolution(512, 512, stride=2)
        self.conv5_1 = convolution(512, 512)
        self.conv6 = convolution(512, 1024, stride=2)
        self.conv6_1 = convolution(1024, 1024)
        encoder_channels = {6: 1024, 5: 512, 4: 512, 3: 256, 2: 128}
        self.add_decoder(encoder_channels, {5: 512, 4: 256, 3: 128, 2: 64}, smooth=smooth, bias=bias)

    def flows(self, level2: Tensor, level3: Tensor) -> list[Tensor]:
        """The shallow features -> flows of 1/4 to 1/64 of the frame's size, finest first."""
        level4 = self.conv4_1(self.conv4(level3))
        level5 = self.conv5_1(self.conv5(level4))
        level6 = self.conv6_1(self.conv6(level5))
        return self.decode([level6, level5, level4, level3, level2])


class FlowNetC(DeepFlowNet):
    """Large motion: the features of both frames are correlated."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = convolution(3, 64, kernel_size=7, stride=2)
        self.conv2 = convolution(64, 128, kernel_size=5, stride=2)
        self.conv3 = convolution(128, 256, kernel_size=5, stride=2)
        self.conv_redir = convolution(256, 32, kernel_size=1)
        self.conv3_1 = convolution(32 + 21**2, 256)
        self.add_deep_layers()

    def forward(self, images: Tensor) -> list[Tensor]:
        """images [B,6,H,W], the first frame's channels, then the second's -> flows of levels 2 to 6."""
        level2 = self.conv2(self.conv1(torch.cat(images.chunk(2, dim=1))))
        first, second = self.conv3(level2).chunk(2)
        alike = F.leaky_relu(correlation(first, second), SLOPE)
        level3 = self.conv3_1(torch.cat((self.conv_redir(first), alike), dim=1))
        return self.flows(level2.chunk(2)[0], level3)


class FlowNetS(DeepFlowNet):
    """Refines a flow: sees both frames, the second warped to the first, the flow and what is still different."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = convolution(12, 64, kernel_size=7, stride=2)
        self.conv2 = convolution(64, 128, kernel_size=5, stride=2)
        self.conv3 = convolution(128, 256, kernel_size=5, stride=2)
        self.conv3_1 = convolution(256, 256)
        self.add_deep_layers(bias=False)

    def forward(self, images_and_flow: Tensor) -> list[Tensor]:
        """images_and_flow [B,12,H,W], see `refinement_input` -> flows of levels 2 to 6."""
        level2 = self.conv2(self.conv1(images_and_flow))
        return self.flows(level2, self.conv3_1(self.conv3(level2)))


class FlowNetSD(DeepFlowNet):
    """Small displacements: no large kernels, no stride in the first layer, and smooth features for each flow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = convolution(6, 64)
        self.conv1 = convolution(64, 64, stride=2)
        self.conv1_1 = convolution(64, 128)
        self.conv2 = convolution(128, 128, stride=2)
        self.conv2_1 = convolution(128, 128)
        self.conv3 = convolution(128, 256, stride=2)
        self.conv3_1 = convolution(256, 256)
        self.add_deep_layers(smooth=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        """images [B,6,H,W], the first frame's channels, then the second's -> flows of levels 2 to 6."""
        level1 = self.conv1_1(self.conv1(self.conv0(images)))
        level2 = self.conv2_1(self.conv2(level1))
        return self.flows(level2, self.conv3_1(self.conv3(level2)))


class FlowNetFusion(CoarseToFine):
    """Chooses between two flows, and sharpens the choice to the frame's full size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = convolution(11, 64)
        self.conv1 = convolution(64, 64, stride=2)
        self.conv1_1 = convolution(64, 128)
        self.conv2 = convolution(128, 128, stride=2)
        self.conv2_1 = convolution(128, 128)
        self.add_decoder({2: 128, 1: 128, 0: 64}, {1: 32, 0: 16}, smooth=True, bias=True)

    def forward(self, candidates: Tensor) -> Tensor:
        """candidates [B,11,H,W], see `fusion_input` -> flow [B,2,H,W] in pixels."""
        level0 = self.conv0(candidates)
        level1 = self.conv1_1(self.conv1(level0))
        level2 = self.conv2_1(self.conv2(level1))
        return self.decode([level2, level1, level0])[0]


class FlowNet2(nn.Module):
    """Optical flow between two frames of any size.

    FlowNetC's flow is refined twice by FlowNetS; FlowNetSD looks for small displacements on its own; the fusion
    chooses between the two. ``network.to(memory_format=torch.channels_last)`` is faster: in half the time for a pair
    of 1024x2048 on a CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flownetc = FlowNetC()
        self.flownets_1 = FlowNetS()
        self.flownets_2 = FlowNetS()
        self.flownets_d = FlowNetSD()
        self.flownetfusion = FlowNetFusion()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two frames -> flow_first_to_second.

        first, second [B,3,H,W], uint8 or float, 0…255. Their channels are taken as they come: the published video
        predictor gives **BGR** to the published weights, so whoever wants its numbers swaps RGB before.
        Returns [B,2,H,W] in pixels, in the dtype of the weights.

        Frames are padded at the right and at the bottom to a multiple of 64, repeating their border, and the flow
        is cropped back; the means that are subtracted are those of the frames alone.

        Raises: ValueError, where the frames are not two batches of three channels and one size, or hold NaN.
        """
        if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 3:
            raise ValueError(
                f"FlowNet2 takes two [B,3,H,W] frames of one size, found {list(first.shape)} and {list(second.shape)}"
            )
        require_finite(first, second)
        height, width = first.shape[-2:]
        dtype = next(self.parameters()).dtype
        frames = normalized(torch.stack((first, second), dim=2).to(torch.promote_types(dtype, torch.float32)))
        images = pad_to_stride(frames.transpose(1, 2).flatten(1, 2)).to(dtype)
        large = upsample(FLOW_SCALE * self.flownetc(images)[0], "bilinear")
        large = upsample(FLOW_SCALE * self.flownets_1(refinement_input(images, large))[0], "bilinear")
        large = upsample(FLOW_SCALE * self.flownets_2(refinement_input(images, large))[0], "nearest")
        small = upsample(self.flownets_d(images)[0] / FLOW_SCALE, "nearest")
        return self.flownetfusion(fusion_input(images, small, large))[..., :height, :width]


def require_finite(*inputs: Tensor) -> None:
    """Raise ValueError where floating frames or flows are NaN or infinite, which would spread over the whole flow."""
    if torch.compiler.is_compiling():
        return
    for tensor in inputs:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise ValueError(
                f"{count} of {tensor.numel()} values of a {list(tensor.shape)} input are NaN or infinite; frames are "
                "levels 0…255, and flows pixels: mend what made them"
            )


def normalized(frames: Tensor) -> Tensor:
    """frames [B,3,T,H,W] float, 0…255 -> less the mean of each sample's colour over all frames, divided by 255."""
    return (frames - frames.mean(dim=(2, 3, 4), keepdim=True)) / 255


def pad_to_stride(images: Tensor) -> Tensor:
    """Repeat the right and the bottom border of images [B,C,H,W] up to a multiple of the networks' stride."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def upsample(flow: Tensor, mode: str) -> Tensor:
    """A flow of a quarter of the frame's size, in the frame's pixels, at full size."""
    return F.interpolate(flow, scale_factor=4.0, mode=mode, align_corners=False if mode == "bilinear" else None)


def refinement_input(images: Tensor, flow: Tensor) -> Tensor:
    """What FlowNetS sees: both frames (6), the second warped (3), the flow in units (2), the error's length (1).

    images [B,6,H,W], flow_first_to_second [B,2,H,W] in pixels -> [B,12,H,W].
    """
    first, second = images.chunk(2, dim=1)
    warped = warp_frames(second, flow)
    return torch.cat((images, warped, flow / FLOW_SCALE, channel_norm(first - warped)), dim=1)


def fusion_input(images: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """What the fusion sees: the first frame (3), both flows (4), their lengths (2), their errors' lengths (2).

    images [B,6,H,W], two flows from first to second [B,2,H,W] in pixels -> [B,11,H,W].
    """
    first, second = images.chunk(2, dim=1)
    errors = [channel_norm(first - warp_frames(second, flow)) for flow in (small, large)]
    return torch.cat((first, small, large, channel_norm(small), channel_norm(large), *errors), dim=1)
