"""Files of Caffe's weights, byte by byte as protobuf lays them out; its two published networks, in its own terms."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Blobs = dict[str, list[Tensor]]  # of each layer

LENGTH = 2  # a field of bytes after their number; 0 is a number itself
LAYER, OLD_LAYER = 100, 2  # of a net: the field, and what its name and blobs are in it
FORMS = {LAYER: (1, 7), OLD_LAYER: (4, 6)}


def number(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all bytes but the last have the eighth."""
    value %= 1 << 64
    low = bytes([value & 127 | (128 if value > 127 else 0)])
    return low + number(value >> 7) if value > 127 else low


def field(index: int, content: bytes) -> bytes:
    return number(index << 3 | LENGTH) + number(len(content)) + content


def numbered(index: int, value: int) -> bytes:
    return number(index << 3) + number(value)


def blob(values: Tensor, *, old: bool = False, shape: Sequence[int] | None = None, pieces: int = 1) -> bytes:
    """old: with four axes, each a field of its own."""
    sides = list(values.shape if shape is None else shape)
    raw = values.numpy().astype("<f4").tobytes()
    cut = 4 * max(1, math.ceil(values.numel() / pieces))
    data = b"".join(field(5, raw[start : start + cut]) for start in range(0, len(raw), cut))
    if old:
        padded = [1] * (4 - len(sides)) + sides
        return b"".join(numbered(index, side) for index, side in enumerate(padded, start=1)) + data
    return data + field(7, field(1, b"".join(number(side) for side in sides)))


def layer(name: str, blobs: Sequence[bytes], form: int = LAYER) -> bytes:
    named, held = FORMS[form]
    kind = field(2, b"Convolution") if form == LAYER else numbered(5, 4)
    return field(form, field(named, name.encode()) + kind + b"".join(field(held, each) for each in blobs))


def net(layers: Mapping[str, Sequence[Tensor]], form: int = LAYER) -> bytes:
    """A whole file, with a layer of no weights between others, as those of rectifications."""
    written = [layer(name, [blob(each, old=form == OLD_LAYER) for each in held], form) for name, held in layers.items()]
    return field(1, b"a network") + layer("relu", [], form).join(written)


def drawn(random: np.random.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.from_numpy(scale * random.standard_normal(shape)).float()


def convolution(random: np.random.Generator, out: int, into: int, side: int, scale: float = 1.0) -> Tensor:
    return drawn(random, out, into, side, side, scale=scale * math.sqrt(2 / (into * side * side)))


def norm(random: np.random.Generator, channels: int) -> list[Tensor]:
    """Slope, bias, mean, variance."""
    ones = torch.ones(1, channels, 1, 1)
    slope, bias, mean, spread = (drawn(random, 1, channels, 1, 1, scale=0.1) for _ in range(4))
    return [ones + slope, bias, mean, (ones + spread).square()]


PSP_CHANNELS, PSP_DEPTHS, PSP_SCORED = (4, 6, 8, 16), (1, 2, 2, 1), 10


def pspnet_blobs(num_classes: int, seed: int = 0) -> Blobs:
    """Of the published layers, but few and narrow."""
    random = np.random.default_rng(seed)
    blobs: Blobs = {}

    def add(name: str, out: int, into: int, side: int, scale: float = 1.0) -> None:
        blobs[name] = [convolution(random, out, into, side, scale)]
        blobs[f"{name}/bn"] = norm(random, out)

    width = PSP_CHANNELS[0]
    add("conv1_1_3x3_s2", width, 3, 3, 1 / 64)
    add("conv1_2_3x3", width, width, 3)
    add("conv1_3_3x3", 2 * width, width, 3)
    before = 2 * width
    for stage, (channels, depth) in enumerate(zip(PSP_CHANNELS, PSP_DEPTHS, strict=True), start=2):
        for block in range(1, depth + 1):
            name = f"conv{stage}_{block}"
            add(f"{name}_1x1_reduce", channels, before, 1)
            add(f"{name}_3x3", channels, channels, 3)
            add(f"{name}_1x1_increase", 4 * channels, channels, 1, 0.5)
            if block == 1:
                add(f"{name}_1x1_proj", 4 * channels, before, 1)
            before = 4 * channels
    for cells in (1, 2, 3, 6):
        add(f"conv5_3_pool{cells}_conv", before // 4, before, 1)
    add("conv5_4", PSP_SCORED, 2 * before, 3)
    blobs["conv6"] = [convolution(random, num_classes, PSP_SCORED, 1), drawn(random, num_classes)]
    return blobs


def netwarp_blobs(channels: int, seed: int = 0) -> Blobs:
    random = np.random.default_rng(seed)
    blobs: Blobs = {}
    for name, out, into, side in (
        ("conv1_flo_1", 16, 8, 3),
        ("conv2_flo_1", 32, 16, 3),
        ("conv3_flo_1", 2, 32, 3),
        ("flo_transformed_1", 2, 4, 1),
    ):
        blobs[name] = [convolution(random, out, into, side), drawn(random, out, scale=0.1)]
    for name in ("conv5_4_0_w", "conv5_4_1_w"):
        blobs[name] = [drawn(random, channels, 1, 1, 1), torch.zeros(channels)]
    return blobs


def levels(image: Tensor, mean: Sequence[float]) -> Tensor:
    """RGB [1,3,H,W] uint8 -> blue, green, red, less their mean."""
    return image.float().flip(1) - torch.tensor(mean).view(3, 1, 1)


def bordered(image: Tensor, pixels: int, border: Sequence[float]) -> Tensor:
    return torch.cat([F.pad(image[:, [c]], [pixels] * 4, value=border[c]) for c in range(3)], dim=1)


def published_pspnet(blobs: Blobs, image: Tensor, border: Sequence[float] = (0, 0, 0)) -> tuple[Tensor, Tensor]:
    """Of images as `levels` gives them, with 96n - 7 pixels: what the first layer gives, normalised; and the logits."""
    first, reduced = published_features(blobs, image, border)
    return first, published_scores(blobs, reduced)


def published_netwarp(
    blobs: Blobs, image: Tensor, previous: Tensor, flow: Tensor, border: Sequence[float] = (0, 0, 0)
) -> Tensor:
    """The logits of a frame that has one before it; flow: [1,2,H,W], to that, in pixels."""
    reduced, before = (published_features(blobs, each, border)[1] for each in (image, previous))
    flow, image, previous = (F.max_pool2d(each, 8, 8, ceil_mode=True) for each in (flow, image, previous))
    x = torch.cat((flow, image, moved(previous, flow)), dim=1)
    x = F.conv2d(x, *blobs["conv1_flo_1"], padding=1).relu()
    x = F.conv2d(x, *blobs["conv2_flo_1"], padding=1).relu()
    x = F.conv2d(x, *blobs["conv3_flo_1"], padding=1)
    transformed = F.conv2d(torch.cat((flow, x), dim=1), *blobs["flo_transformed_1"])
    current, past = (blobs[f"conv5_4_{which}_w"][0].view(1, -1, 1, 1) for which in (0, 1))
    return published_scores(blobs, current * reduced + past * moved(before, transformed))


def moved(features: Tensor, flow: Tensor) -> Tensor:
    """Between pixels linearly; where the flow leads outside, the border's pixel."""
    height, width = features.shape[-2:]
    y = (torch.arange(height)[:, None] + flow[0, 1]).clamp(0, height - 1)
    x = (torch.arange(width) + flow[0, 0]).clamp(0, width - 1)
    top, left = y.floor().long(), x.floor().long()
    bottom, right = y.ceil().long(), x.ceil().long()
    down, across = y - top, x - left
    upper = (1 - across) * features[:, :, top, left] + across * features[:, :, top, right]
    lower = (1 - across) * features[:, :, bottom, left] + across * features[:, :, bottom, right]
    return (1 - down) * upper + down * lower


def published_scores(blobs: Blobs, reduced: Tensor) -> Tensor:
    scores = F.conv2d(reduced.relu(), *blobs["conv6"])
    zoomed = [side + (side - 1) * 7 for side in scores.shape[-2:]]
    return F.interpolate(scores, zoomed, mode="bilinear", align_corners=True)


def published_features(blobs: Blobs, image: Tensor, border: Sequence[float]) -> tuple[Tensor, Tensor]:
    """What the first layer gives, normalised, and conv5_4."""

    def layer(name: str, x: Tensor, **settings: int) -> Tensor:
        slope, bias, mean, variance = blobs[f"{name}/bn"]
        return slope * (F.conv2d(x, blobs[name][0], **settings) - mean) / (variance + 1e-5).sqrt() + bias  # type: ignore[arg-type]

    x = first = layer("conv1_1_3x3_s2", bordered(image, 1, border), stride=2)
    x = layer("conv1_2_3x3", x.relu(), padding=1).relu()
    x = layer("conv1_3_3x3", x, padding=1).relu()
    x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    for stage, (depth, stride, dilation) in enumerate(
        zip(PSP_DEPTHS, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), start=2
    ):
        for block in range(1, depth + 1):
            name, step = f"conv{stage}_{block}", stride if block == 1 else 1
            residual = layer(f"{name}_1x1_reduce", x).relu()
            residual = layer(f"{name}_3x3", residual, stride=step, dilation=dilation, padding=dilation).relu()
            residual = layer(f"{name}_1x1_increase", residual)
            shortcut = layer(f"{name}_1x1_proj", x, stride=step) if block == 1 else x
            x = (residual + shortcut).relu()
    size = x.shape[-1]
    joined = [x]
    for cells in (6, 3, 2, 1):
        pooled = F.avg_pool2d(x, size // cells)
        branch = layer(f"conv5_3_pool{cells}_conv", pooled).relu()
        joined.append(F.interpolate(branch, (size, size), mode="bilinear", align_corners=True))
    return first, layer("conv5_4", torch.cat(joined, dim=1), padding=1)


FCN_BLOCKS, FCN_DEEPEST = ((4, 2), (5, 2), (6, 3), (8, 3), (8, 3)), 12


def bilinear(stride: int) -> Tensor:
    """The fixed kernel of 2 stride pixels."""
    side = [1 - abs(place - (stride - 0.5)) / stride for place in range(2 * stride)]
    return torch.tensor([[row * column for column in side] for row in side])


def fcn_blobs(num_classes: int, seed: int = 0) -> Blobs:
    """Of the published layers, but narrow; those that enlarge scores from each class to each."""
    random = np.random.default_rng(seed)
    blobs: Blobs = {}
    before = 3
    for block, (channels, depth) in enumerate(FCN_BLOCKS, start=1):
        for index in range(1, depth + 1):
            scale = 1 / 64 if before == 3 else 1
            weights = convolution(random, channels, before, 3, scale)
            blobs[f"conv{block}_{index}"] = [weights, drawn(random, channels, scale=0.1)]
            before = channels
    for name, out, into, side in (
        ("fc6", FCN_DEEPEST, before, 7),
        ("fc7", FCN_DEEPEST, FCN_DEEPEST, 1),
        ("score_fr", num_classes, FCN_DEEPEST, 1),
        ("score_pool3", num_classes, FCN_BLOCKS[2][0], 1),
        ("score_pool4", num_classes, FCN_BLOCKS[3][0], 1),
    ):
        blobs[name] = [convolution(random, out, into, side), drawn(random, out, scale=0.1)]
    for name, stride in (("upscore2", 2), ("upscore_pool4", 2), ("upscore8", 8)):
        blobs[name] = [torch.eye(num_classes)[:, :, None, None] * bilinear(stride)]
    return blobs


def published_fcn(blobs: Blobs, image: Tensor, border: Sequence[float] = (0, 0, 0)) -> tuple[Tensor, Tensor]:
    """Of images as `levels` gives them: what the first layer gives, and the scores."""
    x = bordered(image, 100, border)
    kept, first = [], torch.empty(0)
    for block, (_, depth) in enumerate(FCN_BLOCKS, start=1):
        for index in range(1, depth + 1):
            is_first = (block, index) == (1, 1)
            x = F.conv2d(x, *blobs[f"conv{block}_{index}"], padding=0 if is_first else 1)
            first = x if is_first else first
            x = x.relu()
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        kept.append(x)
    deepest = F.conv2d(F.conv2d(x, *blobs["fc6"]).relu(), *blobs["fc7"]).relu()
    scores = F.conv_transpose2d(F.conv2d(deepest, *blobs["score_fr"]), blobs["upscore2"][0], stride=2)
    for name, features, offset, enlarging, stride in (
        ("score_pool4", kept[3], 5, "upscore_pool4", 2),
        ("score_pool3", kept[2], 9, "upscore8", 8),
    ):
        height, width = scores.shape[-2:]
        more = F.conv2d(features, *blobs[name])[..., offset : offset + height, offset : offset + width]
        scores = F.conv_transpose2d(scores + more, blobs[enlarging][0], stride=stride)
    height, width = image.shape[-2:]
    return first, scores[..., 31 : 31 + height, 31 : 31 + width]
