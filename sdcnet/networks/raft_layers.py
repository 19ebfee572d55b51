"""The parts of RAFT that have parameters, named as in the published weights of torchvision.

Reference: RAFT, Teed and Deng, ECCV 2020.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

STRIDE = 8  # pixels to a pixel of the features
NUM_LEVELS = 4  # of the pyramid of features, each of half the size of the one before


@dataclass(frozen=True, kw_only=True)
class RaftVariant:
    """The numbers in which the two published networks differ.

    Encoders: `stem` and `layers` are channels; `bottleneck`, whether blocks narrow them within; the context encoder has
    batch norm or none, and gives `hidden` + `context` channels. Update: channels of the convolutions that see products,
    and flow; of what comes of both; and the kernels of the recurrent units. `has_mask`, whether upsampling is learned.
    """

    stem: int
    layers: tuple[int, int, int]
    bottleneck: bool
    features: int
    hidden: int
    context: int
    batch_norm: bool
    radius: int
    of_products: tuple[int, ...]
    of_flow: tuple[int, int]
    motion: int
    recurrent_kernels: tuple[tuple[int, int], ...]
    flow_head: int
    has_mask: bool


VARIANTS: Mapping[str, RaftVariant] = {
    "large": RaftVariant(
        stem=64,
        layers=(64, 96, 128),
        bottleneck=False,
        features=256,
        hidden=128,
        context=128,
        batch_norm=True,
        radius=4,
        of_products=(256, 192),
        of_flow=(128, 64),
        motion=126,
        recurrent_kernels=((1, 5), (5, 1)),
        flow_head=256,
        has_mask=True,
    ),
    "small": RaftVariant(
        stem=32,
        layers=(32, 64, 96),
        bottleneck=True,
        features=128,
        hidden=96,
        context=64,
        batch_norm=False,
        radius=3,
        of_products=(96,),
        of_flow=(64, 32),
        motion=80,
        recurrent_kernels=((3, 3),),
        flow_head=128,
        has_mask=False,
    ),
}


def convolution(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)


def activated(layer: nn.Conv2d, norm: type[nn.Module] | None = None) -> nn.Sequential:
    norms = [norm(layer.out_channels)] if norm else []
    return nn.Sequential(layer, *norms, nn.ReLU(inplace=True))


class EncoderBlock(nn.Module):
    """Two convolutions, or three of which the middle ones are narrow, beside a shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, bottleneck: bool, norm: type[nn.Module] | None
    ) -> None:
        super().__init__()
        self._bottleneck = bottleneck
        narrow = out_channels // 4
        if bottleneck:
            self.convnormrelu1 = activated(convolution(in_channels, narrow, 1), norm)
            self.convnormrelu2 = activated(convolution(narrow, narrow, 3, stride=stride), norm)
            self.convnormrelu3 = activated(convolution(narrow, out_channels, 1), norm)
        else:
            self.convnormrelu1 = activated(convolution(in_channels, out_channels, 3, stride=stride), norm)
            self.convnormrelu2 = activated(convolution(out_channels, out_channels, 3), norm)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.downsample = activated(convolution(in_channels, out_channels, 1, stride=stride), norm)[:-1]

    def forward(self, x: Tensor) -> Tensor:
        branch = self.convnormrelu2(self.convnormrelu1(x))
        if self._bottleneck:
            branch = self.convnormrelu3(branch)
        return F.relu(self.downsample(x) + branch)


class Encoder(nn.Module):
    """Images [B,3,H,W] -> features of an eighth of their size."""

    def __init__(self, variant: RaftVariant, out_channels: int, norm: type[nn.Module] | None) -> None:
        super().__init__()
        self.convnormrelu = activated(convolution(3, variant.stem, 7, stride=2), norm)
        channels = variant.stem
        for number, (width, stride) in enumerate(zip(variant.layers, (1, 2, 2), strict=True), start=1):
            first, second = (
                EncoderBlock(before, width, step, bottleneck=variant.bottleneck, norm=norm)
                for before, step in ((channels, stride), (width, 1))
            )
            self.add_module(f"layer{number}", nn.Sequential(first, second))
            channels = width
        self.conv = convolution(channels, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.convnormrelu(images)
        for number in (1, 2, 3):
            features = self.get_submodule(f"layer{number}")(features)
        return self.conv(features)


class MotionEncoder(nn.Module):
    """What was looked up, and the flow that it was looked up for -> features of both, and the flow itself."""

    def __init__(self, variant: RaftVariant) -> None:
        super().__init__()
        channels = NUM_LEVELS * (2 * variant.radius + 1) ** 2
        for number, (width, kernel) in enumerate(zip(variant.of_products, (1, 3), strict=False), start=1):
            self.add_module(f"convcorr{number}", activated(convolution(channels, width, kernel)))
            channels = width
        wide, narrow = variant.of_flow
        self.convflow1 = activated(convolution(2, wide, 7))
        self.convflow2 = activated(convolution(wide, narrow, 3))
        self.conv = activated(convolution(channels + narrow, variant.motion, 3))
        self._of_products = [f"convcorr{number}" for number, _ in enumerate(variant.of_products, start=1)]

    def forward(self, products: Tensor, flow: Tensor) -> Tensor:
        for name in self._of_products:
            products = self.get_submodule(name)(products)
        joined = torch.cat((products, self.convflow2(self.convflow1(flow))), dim=1)
        return torch.cat((self.conv(joined), flow), dim=1)


class RecurrentUnit(nn.Module):
    """A gated recurrent unit of convolutions, whose input is the context, which never changes, and the motion.

    The context's share of the convolutions is computed once for all updates.
    """

    def __init__(self, variant: RaftVariant, kernel: tuple[int, int]) -> None:
        super().__init__()
        channels = variant.hidden + variant.context + variant.motion + 2
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.convz = nn.Conv2d(channels, variant.hidden, kernel, padding=padding)
        self.convr = nn.Conv2d(channels, variant.hidden, kernel, padding=padding)
        self.convq = nn.Conv2d(channels, variant.hidden, kernel, padding=padding)
        self._of_context = slice(variant.hidden, variant.hidden + variant.context)

    def shares(self, context: Tensor) -> list[Tensor]:
        """What the context adds to the convolutions of z, r and q."""
        part = self._of_context
        return [
            F.conv2d(context, conv.weight[:, part], conv.bias, padding=conv.padding)
            for conv in (self.convz, self.convr, self.convq)
        ]

    def forward(self, hidden: Tensor, motion: Tensor, shares: Sequence[Tensor]) -> Tensor:
        of_z, of_r, of_q = shares
        seen = torch.cat((hidden, motion), dim=1)
        z = torch.sigmoid(self._changing(self.convz, seen) + of_z)
        r = torch.sigmoid(self._changing(self.convr, seen) + of_r)
        q = torch.tanh(self._changing(self.convq, torch.cat((r * hidden, motion), dim=1)) + of_q)
        return (1 - z) * hidden + z * q

    def _changing(self, conv: nn.Conv2d, seen: Tensor) -> Tensor:
        part = self._of_context
        weight = torch.cat((conv.weight[:, : part.start], conv.weight[:, part.stop :]), dim=1)
        return F.conv2d(seen, weight, padding=conv.padding)


class RecurrentBlock(nn.Module):
    """Recurrent units one after another, all with the same input."""

    def __init__(self, variant: RaftVariant) -> None:
        super().__init__()
        for number, kernel in enumerate(variant.recurrent_kernels, start=1):
            self.add_module(f"convgru{number}", RecurrentUnit(variant, kernel))

    def shares(self, context: Tensor) -> list[list[Tensor]]:
        return [unit.shares(context) for unit in self.children()]  # type: ignore[operator]

    def forward(self, hidden: Tensor, motion: Tensor, shares: Sequence[Sequence[Tensor]]) -> Tensor:
        for unit, of_unit in zip(self.children(), shares, strict=True):
            hidden = unit(hidden, motion, of_unit)
        return hidden


class FlowHead(nn.Module):
    """The hidden state -> how the flow has to be corrected."""

    def __init__(self, variant: RaftVariant) -> None:
        super().__init__()
        self.conv1 = convolution(variant.hidden, variant.flow_head, 3)
        self.conv2 = convolution(variant.flow_head, 2, 3)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(hidden)))


class UpdateBlock(nn.Module):
    """One update: the next hidden state, and the correction of the flow, in pixels of the features."""

    def __init__(self, variant: RaftVariant) -> None:
        super().__init__()
        self.motion_encoder = MotionEncoder(variant)
        self.recurrent_block = RecurrentBlock(variant)
        self.flow_head = FlowHead(variant)

    def forward(
        self, hidden: Tensor, products: Tensor, flow: Tensor, shares: Sequence[Sequence[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        hidden = self.recurrent_block(hidden, self.motion_encoder(products, flow), shares)
        return hidden, self.flow_head(hidden)


class MaskPredictor(nn.Module):
    """The hidden state -> how each of a cell's 8x8 pixels is mixed from the 3x3 cells around: [B,576,h,w]."""

    def __init__(self, variant: RaftVariant) -> None:
        super().__init__()
        self.convrelu = activated(convolution(variant.hidden, 256, 3))
        self.conv = convolution(256, 9 * STRIDE**2, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return 0.25 * self.conv(self.convrelu(hidden))  # the published factor, which balances gradients
