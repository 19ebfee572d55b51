"""How alike two frames' features are around where a flow points: RAFT's lookup, from a volume or without one.

Reference: RAFT, Teed and Deng, ECCV 2020, section 3.2. The volume holds the products of all pairs of pixels; the other
way forms only those that are asked for, which is the same up to rounding, since averaging is linear.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sdcnet.geometry import pixel_before
from sdcnet.networks.raft_layers import NUM_LEVELS

VOLUME_BYTES = 2**30  # a pair's volume may have: beyond 900x1000 pixels products are formed when they are asked for
GATHERED_BYTES = 2**28  # of features that a GPU copies at a time
NEIGHBOURS = 32  # pixels whose windows a CPU looks at together: most lie beside one another
WIDEST_BAND = 32  # windows' worth of pixels that is still multiplied faster than 32 windows are copied


def correlation_lookup(first: Tensor, second: Tensor, radius: int) -> "Lookup":
    """The lookup for a pair of frames: from a volume where that has at most VOLUME_BYTES, else on demand.

    first, second: features [B,C,h,w] of any float. All that is computed of them is float32 at least.
    """
    dtype = torch.promote_types(first.dtype, torch.float32)
    height, width = first.shape[-2:]
    kind = VolumeLookup if volume_bytes(height, width, dtype) <= VOLUME_BYTES else WindowLookup
    with torch.autocast(first.device.type, enabled=False):
        return kind(first.to(dtype), pyramid(second.to(dtype)), radius)


def volume_bytes(height: int, width: int, dtype: torch.dtype = torch.float32) -> int:
    """The size of a pair's volume, of features of this size."""
    of_levels = ((height >> level) * (width >> level) for level in range(NUM_LEVELS))
    return height * width * sum(of_levels) * dtype.itemsize


def pyramid(features: Tensor) -> list[Tensor]:
    """Features [B,C,h,w], and means of them over 2x2, 4x4 and 8x8 pixels; odd last rows and columns are dropped."""
    levels = [features]
    for _ in range(NUM_LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


class Lookup:
    """Products of features around given points. What differs is where the products come from."""

    def __init__(self, first: Tensor, levels: Sequence[Tensor], radius: int) -> None:
        """first: [B,C,h,w]; levels: of the second frame, as `pyramid` makes them."""
        self._radius, self._sizes = radius, [level.shape[-2:] for level in levels]
        self._first = pixels(first) / math.sqrt(first.shape[1])  # the smaller of what could be divided

    def __call__(self, centres: Tensor) -> Tensor:
        """What each pixel of the first frame has in common with the second around its centre.

        centres: [B,2,h,w], pixels of the features, channel 0 is x; anywhere. Returns [B,4(2r+1)²,h,w]: channel
        l(2r+1)² + (i+r)(2r+1) + (j+r) is the product with level l at centre / 2^l + (i, j), bilinear between pixels,
        where x is i and the slower one; 0 outside.
        """
        height, width = centres.shape[-2:]
        points = centres.flatten(2).transpose(1, 2)
        found = []
        with torch.autocast(centres.device.type, enabled=False):
            for level in range(NUM_LEVELS):
                scaled = points / 2**level
                corners = pixel_before(scaled)
                found.append(blend(self.products(level, corners - self._radius), scaled - corners))
        return torch.cat(found, dim=2).unflatten(1, (height, width)).permute(0, 3, 1, 2)

    def products(self, level: int, corners: Tensor) -> Tensor:
        """The products with the windows of (2r+2)² pixels whose first pixels these are.

        corners: [B,P,2], whole numbers, x before y -> [B,P,2r+2,2r+2], rows first; 0 outside the frame.
        """
        raise NotImplementedError


class VolumeLookup(Lookup):
    """Reads a volume of all products: fast, and 1.33 (h·w)² numbers large."""

    def __init__(self, first: Tensor, levels: Sequence[Tensor], radius: int) -> None:
        super().__init__(first, levels, radius)
        self._volumes = [self._first @ level.flatten(2) for level in levels]

    def products(self, level: int, corners: Tensor) -> Tensor:
        height, width = self._sizes[level]
        steps = torch.arange(2 * self._radius + 2, dtype=corners.dtype, device=corners.device)
        x, y = (corners.unsqueeze(3) + steps).unbind(2)
        is_inside = ((y >= 0) & (y < height)).unsqueeze(3) & ((x >= 0) & (x < width)).unsqueeze(2)
        x, y = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
        places = (y * width).unsqueeze(3) + x.unsqueeze(2)
        return self._volumes[level].gather(2, places.flatten(2)).view(places.shape) * is_inside


class WindowLookup(Lookup):
    """Multiplies with the features within each window alone: no more memory than the features have."""

    def __init__(self, first: Tensor, levels: Sequence[Tensor], radius: int) -> None:
        super().__init__(first, levels, radius)
        side = 2 * radius + 2
        # with zeros around, as wide as a window: whatever lies farther out sees nothing either
        padded = [F.pad(level, (side, side, side, side)) for level in levels]
        self._padded = [level.permute(0, 2, 3, 1).contiguous() for level in padded]

    def products(self, level: int, corners: Tensor) -> Tensor:
        height, width = self._sizes[level]
        side = 2 * self._radius + 2
        columns, rows = (
            (places.clamp(-side, size) + side).long()
            for places, size in zip(corners.unbind(2), (width, height), strict=True)
        )
        return _window_products(self._first, self._padded[level], rows, columns, side)


@torch.compiler.disable  # unrolled, its thousands of steps would compile for hours
def _window_products(first: Tensor, second: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor:
    """first [B,P,C]; second [B,H,W,C]; the first pixels of windows of side² pixels, rows and columns [B,P] int64.

    Returns [B,P,side,side].
    """
    size = first.shape[2] * side**2 * first.element_size()
    at_a_time = NEIGHBOURS if first.is_cpu else max(1, GATHERED_BYTES // size)
    parts = []
    for image, *of_image in zip(second, first, rows, columns, strict=True):
        for vectors, y, x in zip(*(values.split(at_a_time) for values in of_image), strict=True):
            part = _products_with_band(vectors, image, y, x, side) if first.is_cpu else None
            parts.append(_products_with_windows(vectors, image, y, x, side) if part is None else part)
    return torch.cat(parts).view(*rows.shape, side, side)


def _products_with_windows(vectors: Tensor, image: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor:
    """vectors [N,C], image [H,W,C], rows and columns [N] -> [N,side²], of features that are copied for each window."""
    _, width, channels = image.shape
    strips = image.flatten().unfold(0, side * channels, channels)  # a view: a row of a window lies in one piece
    starts = (rows * width + columns).unsqueeze(1) + width * torch.arange(side, device=rows.device)
    windows = strips.index_select(0, starts.flatten())
    return torch.bmm(windows.view(-1, side**2, channels), vectors.unsqueeze(2)).squeeze(2)


def _products_with_band(vectors: Tensor, image: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor | None:
    """As `_products_with_windows`, of all features around the windows at once; None, where these lie too far apart."""
    (top, bottom), (left, right) = (map(int, torch.aminmax(places)) for places in (rows, columns))
    band = image[top : bottom + side, left : right + side]
    height, width, channels = band.shape
    if height * width > WIDEST_BAND * side**2:
        return None
    steps = torch.arange(side)
    within = ((rows - top).unsqueeze(1) + steps).unsqueeze(2) * width + (
        (columns - left).unsqueeze(1) + steps
    ).unsqueeze(1)
    return (vectors @ band.reshape(-1, channels).T).gather(1, within.flatten(1))


def pixels(features: Tensor) -> Tensor:
    """[B,C,h,w] -> [B,h·w,C], contiguous."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def blend(products: Tensor, fractions: Tensor) -> Tensor:
    """Products between pixels from those on pixels: all of a window lie at the same fraction of a pixel.

    products [B,P,K,K], rows first; fractions [B,P,2], x before y -> [B,P,(K-1)²], columns first.
    """
    fx, fy = fractions[..., None, None].unbind(2)
    between = torch.lerp(products[..., :-1], products[..., 1:], fx)
    return torch.lerp(between[..., :-1, :], between[..., 1:, :], fy).transpose(2, 3).flatten(2)
