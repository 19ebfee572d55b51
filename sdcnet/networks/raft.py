"""RAFT: dense optical flow, refined again and again by one small recurrent network.

Each frame has features of an eighth of its size. An update looks up how well those of the first frame match those of
the second around where the flow points so far, and corrects the flow. Parameters have the names and shapes of the
published weights of torchvision's raft_large and raft_small.

Reference: RAFT, Teed and Deng, ECCV 2020.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdcnet.geometry import endpoints, pixel_grid
from sdcnet.networks.flownet2 import require_finite
from sdcnet.networks.raft_lookup import NUM_LEVELS, correlation_lookup

STRIDE = 8  # pixels to a pixel of the features
SMALLEST_SIDE = 128  # the networks were trained on no less; the coarsest features then still have two pixels
NUM_UPDATES = 12


@dataclass(frozen=True, kw_only=True)
class Variant:
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


VARIANTS: Mapping[str, Variant] = {
    "large": Variant(
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
    "small": Variant(
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


class Block(nn.Module):
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

    def __init__(self, variant: Variant, out_channels: int, norm: type[nn.Module] | None) -> None:
        super().__init__()
        self.convnormrelu = activated(convolution(3, variant.stem, 7, stride=2), norm)
        channels = variant.stem
        for number, (width, stride) in enumerate(zip(variant.layers, (1, 2, 2), strict=True), start=1):
            first, second = (
                Block(before, width, step, bottleneck=variant.bottleneck, norm=norm)
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

    def __init__(self, variant: Variant) -> None:
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

    def __init__(self, variant: Variant, kernel: tuple[int, int]) -> None:
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

    def __init__(self, variant: Variant) -> None:
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

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv1 = convolution(variant.hidden, variant.flow_head, 3)
        self.conv2 = convolution(variant.flow_head, 2, 3)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(hidden)))


class UpdateBlock(nn.Module):
    """One update: the next hidden state, and the correction of the flow, in pixels of the features."""

    def __init__(self, variant: Variant) -> None:
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

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.convrelu = activated(convolution(variant.hidden, 256, 3))
        self.conv = convolution(256, 9 * STRIDE**2, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return 0.25 * self.conv(self.convrelu(hidden))  # the published factor, which balances gradients


class RAFT(nn.Module):
    """Optical flow between two frames of any size; its parts may be used alone, so that a frame's are computed once.

    ``flow(features(first), features(second), context(first))`` is what ``network(first, second)`` gives, but for the
    border by which frames are padded: to a multiple of 8, and to 128, on all sides, repeating the frame's border.

    Under autocast, encoders and updates compute in its dtype; the flow, products of features and the upsampling stay
    float32.
    """

    def __init__(self, variant: str = "large") -> None:
        """variant: one of VARIANTS. Raises: ValueError, where it is none."""
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, found {variant!r}")
        self.variant = variant
        numbers = self._numbers = VARIANTS[variant]
        self.feature_encoder = Encoder(numbers, numbers.features, nn.InstanceNorm2d)
        context_norm = nn.BatchNorm2d if numbers.batch_norm else None
        self.context_encoder = Encoder(numbers, numbers.hidden + numbers.context, context_norm)
        self.update_block = UpdateBlock(numbers)
        self.mask_predictor = MaskPredictor(numbers) if numbers.has_mask else None

    @property
    def settings(self) -> dict[str, object]:
        """What, beside its parameters, makes this network."""
        return {"variant": self.variant}

    def forward(self, first: Tensor, second: Tensor, num_updates: int = NUM_UPDATES) -> Tensor:
        """Two frames -> flow_first_to_second [B,2,H,W] in pixels, float32 at least.

        first, second: [B,3,H,W], uint8 or float, 0…255, **RGB**.

        Raises: ValueError, where the frames are not two batches of three channels and one size, or hold NaN.
        """
        if first.shape != second.shape:
            raise ValueError(f"RAFT takes two frames of one size, found {list(first.shape)} and {list(second.shape)}")
        features1, features2 = self.features(torch.cat((first, second))).chunk(2)
        return self.flow_from_features(first, features1, features2, num_updates)

    def features(self, frames: Tensor) -> Tensor:
        """Frames [B,3,H,W] -> what is matched between frames, [B,C,h,w] of the padded frames' eighth."""
        return self.feature_encoder(self._images(frames))

    def context(self, frames: Tensor) -> Tensor:
        """Frames [B,3,H,W] -> what is known of the first of two frames alone: the initial state and the context."""
        return self.context_encoder(self._images(frames))

    def flow_from_features(
        self, first: Tensor, features1: Tensor, features2: Tensor, num_updates: int = NUM_UPDATES
    ) -> Tensor:
        """As `forward`, of the first frame and the `features` of both."""
        flow = self.flow(features1, features2, self.context(first), num_updates)
        height, width = first.shape[-2:]
        left, _, top, _ = padding(height, width)
        return flow[..., top : top + height, left : left + width]

    def flow(self, features1: Tensor, features2: Tensor, context1: Tensor, num_updates: int = NUM_UPDATES) -> Tensor:
        """The flow of the padded frames, [B,2,8h,8w] in pixels, float32 at least, after that many updates.

        features1, features2: as `features` gives them; context1: as `context` does, of the first frame.
        """
        if num_updates < 1:
            raise ValueError(f"num_updates must be at least 1, found {num_updates}")
        lookup = correlation_lookup(features1, features2, self._numbers.radius)
        hidden, context = context1.to(torch.promote_types(context1.dtype, torch.float32)).split(
            (self._numbers.hidden, self._numbers.context), dim=1
        )
        hidden = torch.tanh(hidden)
        with torch.autocast(hidden.device.type, enabled=False):  # once only, so no time is lost on exactness
            shares = self.update_block.recurrent_block.shares(F.relu(context))
        height, width = features1.shape[-2:]
        flow = pixel_grid(height, width, device=features1.device).expand(len(features1), -1, -1, -1) * 0
        for _ in range(num_updates):
            flow = flow.detach()  # an update learns from its own correction
            hidden, correction = self.update_block(hidden, lookup(endpoints(flow)), flow, shares)
            flow = flow + correction  # float32, whatever the correction is
        mask = self.mask_predictor(hidden) if self.mask_predictor else None
        with torch.autocast(flow.device.type, enabled=False):
            return upsample(flow) if mask is None else upsample_convex(flow, mask.to(flow.dtype))

    def _images(self, frames: Tensor) -> Tensor:
        """Levels 0…255 -> -1…1, padded."""
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ValueError(f"RAFT takes frames [B,3,H,W], found {list(frames.shape)}")
        require_finite(frames)
        dtype = next(self.parameters()).dtype
        images = frames.to(torch.promote_types(dtype, torch.float32)) / 127.5 - 1
        return F.pad(images, padding(*frames.shape[-2:]), mode="replicate").to(dtype)


def padding(height: int, width: int) -> tuple[int, int, int, int]:
    """By how many pixels frames are padded, as (left, right, top, bottom): where it is odd, there is less before."""
    across, down = (max(-size % STRIDE, SMALLEST_SIDE - size) for size in (width, height))
    return across // 2, across - across // 2, down // 2, down - down // 2


def upsample(flow: Tensor) -> Tensor:
    """A flow [B,2,h,w] in its own pixels -> [B,2,8h,8w] in its own; corners meet corners."""
    return STRIDE * F.interpolate(flow, scale_factor=float(STRIDE), mode="bilinear", align_corners=True)


def upsample_convex(flow: Tensor, mask: Tensor) -> Tensor:
    """As `upsample`, each pixel mixed from the 3x3 cells around its own by the softmax of its mask.

    flow [B,2,h,w]; mask [B,576,h,w]: 9 neighbours, row by row, times 8 rows, times 8 columns of a cell. Neighbours
    outside are 0.
    """
    batch, _, height, width = flow.shape
    weights = mask.view(batch, 9, STRIDE, STRIDE, height, width).softmax(dim=1)
    neighbours = F.unfold(STRIDE * flow, 3, padding=1).view(batch, 2, 9, height, width)
    mixed = torch.einsum("bkijyx,bckyx->bcyixj", weights, neighbours)
    return mixed.reshape(batch, 2, STRIDE * height, STRIDE * width)
