"""Frames seen in tiles, at several scales and mirrored: how PSPNet and NetWarp segment whole images.

Each tile of each scale, and its mirror image, is a video of its own with a stepper of its own, so that any scheme works
in tiles, and computes what it needs of a frame once.

Reference: Zhao et al., Pyramid Scene Parsing Network, CVPR 2017; Gadde et al., Semantic Video CNNs through
Representation Warping, ICCV 2017, and its published program. What that does and is not done here: where it mirrors the
images it negates both components of the flow, and leaves the field as it is; it saves the scores of the frame before
under a frame's name; and it scales flow by s, though the images become (round(s W) + 1) / W times as wide.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import chain, product

from torch import Tensor
from torch.nn import functional

from segtrain.inference import Grid, class_softmax, merge, starts_at_steps
from segtrain.models.network import SegmentationNetwork
from segtrain.video.registry import SchemeSettings, stepper_maker
from segtrain.video.stepper import Cost, Motion, Seen, Stepper


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How frames are cut. tile: pixels along each side. stride: from one to the next. scales: relative to the frame."""

    tile: int = 713
    stride: int = 476
    scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.tile:
            raise ValueError(f"stride must be within 1…{self.tile}, the tile, found {self.stride}")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales must be one or more positive numbers, found {self.scales}")

    def size(self, frame: tuple[int, int], scale: float) -> tuple[int, int]:
        """(H, W) of a frame -> the same at a scale."""
        return round(scale * frame[0]) + 1, round(scale * frame[1]) + 1

    def grid(self, size: tuple[int, int]) -> Grid:
        """The tiles of an image of size (H, W), all whole: the last row and column are shifted back. Where the image is
        smaller than a tile, the grid is larger than it."""
        tops, lefts = (starts_at_steps(length, self.tile, self.stride) for length in size)
        return Grid((self.tile, self.tile), tops, lefts)


PUBLISHED = Tiling()


class Tiled:
    """A stepper of steppers. Its scores are probabilities, summed over the scales.

    Of a tile: softmax(logits + those of its mirror image, mirrored back), a sum, which sharpens. Of a scale: the mean
    of the tiles that see a pixel, resized to the frame.
    """

    def __init__(self, open_inner: Callable[[], Stepper], tiling: Tiling = PUBLISHED) -> None:
        """open_inner: makes a stepper for the frames of one tile."""
        self._open, self._tiling = open_inner, tiling
        self._any = open_inner()  # never stepped
        self.reset()

    @property
    def phases(self) -> tuple[int, ...]:
        return self._any.phases

    def reset(self) -> None:
        # by scale, top, left, and whether it is mirrored
        self._steppers: defaultdict[tuple[float, int, int, bool], Stepper] = defaultdict(self._open)

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        """As `Stepper.step`. The cost names the parts of all tiles; a difference is each tile's own, and not told."""
        if seen.is_new:
            self.reset()
        costs: list[Cost] = []
        total = reduce(Tensor.add_, (self._at(scale, seen, costs) for scale in self._tiling.scales))
        numbers = {number for cost in costs for number in cost.fused_from}
        return total, Cost(
            ran=tuple(chain.from_iterable(cost.ran for cost in costs)),
            fused_from=tuple(sorted(numbers, reverse=True)),
            motions=max(cost.motions for cost in costs),
        )

    def macs(self, size: tuple[int, int]) -> Mapping[str, int]:  # noqa: ARG002
        """Of each part, for one tile, whatever the size of the frame."""
        return self._any.macs((self._tiling.tile, self._tiling.tile))

    def _at(self, scale: float, seen: Seen, costs: list[Cost]) -> Tensor:
        """The frame's probabilities, as seen at a scale: [1,C,H,W] float32. costs: those of the tiles are added."""
        scaled = _Scaled(seen, self._tiling, scale)
        tiles = self._tiles(scaled, costs)
        return resized(mean_of_tiles(scaled.grid, tiles, scaled.size), seen.image.shape[-2:])

    def _tiles(self, scaled: "_Scaled", costs: list[Cost]) -> Iterator[Tensor]:
        """The probabilities of each tile, row by row: [C,tile,tile] float32."""
        scale = scaled.scale
        for top, left in product(scaled.grid.tops, scaled.grid.lefts):
            logits, cost = self._steppers[scale, top, left, False].step(scaled.tile(top, left))
            mirror_image, its_cost = self._steppers[scale, top, left, True].step(scaled.mirrored_tile(top, left))
            costs += cost, its_cost
            yield class_softmax(logits.float() + mirror_image.float().flip(-1))[0]


def open_stepper_of(network: SegmentationNetwork, settings: SchemeSettings, tiling: Tiling | None) -> Stepper:
    """A stepper for one video: in tiles, or of whole frames where there is no tiling. Raises: as `open_stepper`."""
    make = stepper_maker(network, settings)
    return make() if tiling is None else Tiled(make, tiling)


@dataclass(frozen=True)
class _Scaled:
    """A frame at a scale, with zeros, the mean colour, around it as far as its tiles reach."""

    seen: Seen
    tiling: Tiling
    scale: float

    @cached_property
    def size(self) -> tuple[int, int]:
        height, width = self.seen.image.shape[-2:]
        return self.tiling.size((height, width), self.scale)

    @cached_property
    def grid(self) -> Grid:
        return self.tiling.grid(self.size)

    @cached_property
    def image(self) -> Tensor:
        return padded(resized(self.seen.image, self.size), self.grid.size)

    @cached_property
    def motion(self) -> Motion:
        """In pixels of this size. Nothing is known of what is around the frame."""
        height, width = self.seen.image.shape[-2:]
        motion = resized_motion(self.seen.motion, (height, width), self.size)
        return Motion(*(padded(maps, self.grid.size) for maps in motion))

    @cached_property
    def back(self) -> Tensor | None:
        """`Seen.back`, in pixels of this size."""
        if (back := self.seen.back) is None:
            return None
        return padded(resized_flow(back, (back.shape[-2], back.shape[-1]), self.size), self.grid.size)

    def tile(self, top: int, left: int) -> Seen:
        side = self.tiling.tile
        place = (..., slice(top, top + side), slice(left, left + side))
        return Seen(
            number=self.seen.number,
            image=self.image[place],
            is_key=self.seen.is_key,
            is_new=self.seen.is_new,
            find_motion=lambda: Motion(*(maps[place] for maps in self.motion)),
            find_back=lambda: None if self.back is None else self.back[place],
        )

    def mirrored_tile(self, top: int, left: int) -> Seen:
        tile = self.tile(top, left)
        return Seen(
            number=tile.number,
            image=tile.image.flip(-1),
            is_key=tile.is_key,
            is_new=tile.is_new,
            find_motion=lambda: Motion(mirrored_flow(tile.motion.flow_to_previous), tile.motion.known.flip(-1)),
            find_back=lambda: None if tile.back is None else mirrored_flow(tile.back),
        )


def mean_of_tiles(grid: Grid, tiles: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
    """The mean, at each pixel of an image of size (H, W), of the tiles that see it: [1,C,H,W] float32.

    tiles: [C,tile,tile] float32 each, row by row; they are overwritten.
    """
    mean: Tensor | None = None
    for block in merge(grid, tiles):
        if mean is None:
            mean = block.probabilities.new_empty(1, *size, len(block.probabilities)).permute(0, 3, 1, 2)
        height, width = block.probabilities.shape[1:]
        place = mean[0, :, block.top : block.top + height, block.left : block.left + width]
        place.copy_(block.probabilities[:, : place.shape[1], : place.shape[2]])
    assert mean is not None
    return mean


def resized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps [B,C,H,W] of another size: bilinear between the two pixels next to a place along each axis, also where they
    shrink."""
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def resized_motion(motion: Motion, frame: tuple[int, int], size: tuple[int, int]) -> Motion:
    """Motion in a frame of size (H, W), whatever its cells -> that in the frame at another size, of its pixels."""
    flow = resized_flow(motion.flow_to_previous, frame, size)
    known = functional.interpolate(motion.known.to(flow.dtype), size, mode="nearest-exact")
    return Motion(flow, known > 0)


def resized_flow(flow: Tensor, frame: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """As `resized_motion`, of a flow [B,2,h,w] alone."""
    factors = flow.new_tensor([size[1] / frame[1], size[0] / frame[0]]).view(1, 2, 1, 1)
    return resized(flow, size) * factors


def padded(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [B,C,h,w], at the bottom and at the right zeros up to the size (H, W)."""
    return functional.pad(maps, (0, size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2]))


def mirrored_flow(flow: Tensor) -> Tensor:
    """The flow [B,2,H,W] of mirror images: the field is mirrored, and what led to the right leads to the left."""
    return flow.flip(-1) * flow.new_tensor([-1.0, 1.0]).view(1, 2, 1, 1)
