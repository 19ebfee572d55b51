"""Frames in tiles: sizes, places, motion and sums against stored numbers, and any scheme in them."""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.steppers import moving, network_of, seen_of, steps
from torch import Tensor
from torch.nn import functional

from segtrain.models.network import SegmentationNetwork
from segtrain.video.registry import SchemeSettings
from segtrain.video.stepper import Cost, Motion, Seen
from segtrain.video.tiled import PUBLISHED, Tiled, Tiling, mean_of_tiles, open_stepper_of, resized, resized_motion
from segtrain.video.warping import warp

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
FRAME = (24, 40)
SMALL = Tiling(tile=17, stride=11, scales=(0.5, 1.0, 1.25))
FEW = Tiling(tile=32, stride=24, scales=(0.4, 0.75))  # of frames of 48x64: 1 tile, and 2x2


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "netwarp_tiles.npz") as arrays:
        return dict(arrays)


def boxes(tiling: Tiling, size: tuple[int, int]) -> list[list[int]]:
    """[top, bottom, left, right] of each tile."""
    grid = tiling.grid(size)
    return [[top, top + tiling.tile, left, left + tiling.tile] for top, left in product(grid.tops, grid.lefts)]


@pytest.mark.parametrize("scale", PUBLISHED.scales)
def test_sizes_and_tiles_are_the_published_ones(golden: dict[str, np.ndarray], scale: float) -> None:
    size = PUBLISHED.size((1024, 2048), scale)
    assert list(size) == golden[f"size_{scale}"].tolist()
    assert list(PUBLISHED.grid(size).size) == golden[f"padded_{scale}"].tolist()
    assert boxes(PUBLISHED, size) == golden[f"boxes_y0y1x0x1_{scale}"].tolist()


def test_a_frame_of_cityscapes_is_81_tiles_twice() -> None:
    tiles = [len(boxes(PUBLISHED, PUBLISHED.size((1024, 2048), scale))) for scale in PUBLISHED.scales]
    assert tiles == [2, 6, 8, 15, 18, 32]


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.75])
def test_images_and_flows_are_resized_as_published(golden: dict[str, np.ndarray], scale: float) -> None:
    """But for the factors of the flow, which are those by which the image is resized, where the published is s."""
    pixels = golden["resize_rgb_uint8"][..., ::-1] - np.array([103.939, 116.779, 123.68])
    frame = (pixels.shape[0], pixels.shape[1])
    size = PUBLISHED.size(frame, scale)
    image = resized(torch.from_numpy(pixels).float().permute(2, 0, 1)[None], size)
    np.testing.assert_allclose(image[0], golden[f"resize_bgr_out_{scale}"], rtol=0, atol=2e-3)
    flow = torch.from_numpy(golden["resize_flow"]).permute(2, 0, 1)[None]
    found = resized_motion(Motion(flow, torch.ones(1, 1, *frame, dtype=torch.bool)), frame, size)
    as_published = torch.tensor([scale * frame[1] / size[1], scale * frame[0] / size[0]]).view(2, 1, 1)
    expected = golden[f"resize_flow_out_{scale}"]
    np.testing.assert_allclose(found.flow_to_previous[0] * as_published, expected, rtol=0, atol=1e-4)


class Stored:
    """Gives the stored logits of the tiles, one after the other."""

    phases = (0,)

    def __init__(self, logits: Iterator[np.ndarray]) -> None:
        self._logits = logits

    def reset(self) -> None: ...

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        return torch.from_numpy(next(self._logits))[None], Cost(("logits",), (seen.number,))

    def macs(self, size: tuple[int, int]) -> Mapping[str, int]:
        return {"logits": size[0] * size[1]}


def test_logits_are_put_together_as_published(golden: dict[str, np.ndarray]) -> None:
    logits = iter(
        [
            golden[f"fusion_{kind}_{scale}"][tile]
            for scale in SMALL.scales
            for tile in range(len(golden[f"fusion_boxes_{scale}"]))
            for kind in ("logits", "mirrored_logits")
        ]
    )
    stepper = Tiled(lambda: Stored(logits), SMALL)
    (found,), (cost,) = steps(stepper, [seen_at(0, torch.zeros(1, 3, *FRAME))])
    # float32 knows the places that are resized to, up to 40, to 2e-6 pixels; in float64 the sum is the stored one
    np.testing.assert_allclose(found[0], golden["fusion_sum"], rtol=0, atol=5e-6)
    means = [torch.from_numpy(golden[f"fusion_probability_{scale}"]).double()[None] for scale in SMALL.scales]
    np.testing.assert_allclose(sum(resized(mean, FRAME) for mean in means)[0], golden["fusion_sum"], rtol=0, atol=1e-6)
    assert np.array_equal(found[0].argmax(0), golden["fusion_argmax"])
    assert next(logits, None) is None
    assert cost == Cost(("logits",) * 2 * (2 + 8 + 15), (0,))
    assert stepper.macs(FRAME) == {"logits": 17 * 17}


@pytest.mark.parametrize("scale", SMALL.scales)
def test_a_pixel_has_the_mean_of_the_tiles_that_see_it(golden: dict[str, np.ndarray], scale: float) -> None:
    size = SMALL.size(FRAME, scale)
    assert list(size) == golden[f"fusion_size_{scale}"].tolist()
    assert boxes(SMALL, size) == golden[f"fusion_boxes_{scale}"].tolist()
    logits, mirrored = (torch.from_numpy(golden[f"fusion_{kind}_{scale}"]) for kind in ("logits", "mirrored_logits"))
    found = mean_of_tiles(SMALL.grid(size), (logits + mirrored.flip(-1)).softmax(1), size)
    np.testing.assert_allclose(found[0], golden[f"fusion_probability_{scale}"], rtol=0, atol=1e-6)


def seen_at(number: int, image: Tensor, motion: Motion | None = None) -> Seen:
    def find_motion() -> Motion:
        assert motion is not None
        return motion

    return Seen(number, image, None, number == 0, find_motion)


class Pixelwise(Stored):
    """Scores that depend on a pixel alone."""

    def __init__(self) -> None:
        super().__init__(iter(()))

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        return pixelwise(seen.image), Cost(("logits",), (seen.number,))


def pixelwise(image: Tensor) -> Tensor:
    return torch.cat((image[:, :1] - image[:, 1:2], image[:, 2:].square(), 0.3 - image[:, 1:]), dim=1)


@pytest.mark.parametrize(("tile", "stride"), [(17, 11), (17, 17), (40, 7), (64, 5)])
def test_where_pixels_count_alone_tiles_change_nothing(tile: int, stride: int) -> None:
    image = torch.randn(1, 3, *FRAME, generator=torch.Generator().manual_seed(0))
    tiling = Tiling(tile=tile, stride=stride, scales=(0.6, 1.5))
    (found,), _ = steps(Tiled(Pixelwise, tiling), [seen_at(0, image)])
    whole = [resized(image, tiling.size(FRAME, scale)) for scale in tiling.scales]
    expected = sum(resized((2 * pixelwise(each)).softmax(1), FRAME) for each in whole)
    torch.testing.assert_close(found, expected)


class Kept(Stored):
    """Keeps what it has seen of its tile."""

    def __init__(self, all_of_them: list["Kept"]) -> None:
        super().__init__(iter(()))
        self.seen: list[Seen] = []
        all_of_them.append(self)

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        self.seen.append(seen)
        return seen.image, Cost(("logits",), (seen.number,), motions=2)


def deformed(size: tuple[int, int], cell: int) -> tuple[Tensor, Tensor, Motion]:
    """The previous frame and this one, of smooth waves, and the motion between them, by cells of so many pixels."""
    y, x = torch.meshgrid(*(torch.arange(length, dtype=torch.float32) for length in size), indexing="ij")

    def picture(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([torch.sin(0.20 * x + 0.09 * y), torch.cos(0.13 * x - 0.17 * y), torch.sin(0.22 * y + 1)])

    flow = torch.stack([1.5 + 0.05 * x, -1 + 0.03 * x - 0.02 * y])
    motion = functional.avg_pool2d(flow[None], cell)
    return (
        picture(x, y)[None],
        picture(x + flow[0], y + flow[1])[None],
        Motion(motion, torch.ones_like(motion[:, :1]) > 0),
    )


@pytest.mark.parametrize("cell", [1, 8])
def test_each_tile_has_the_motion_that_leads_to_what_it_saw_before(cell: int) -> None:
    previous, current, motion = deformed((72, 96), cell)
    tiles: list[Kept] = []
    tiling = Tiling(tile=80, stride=40, scales=(0.8, 1.25))
    steps(Tiled(lambda: Kept(tiles), tiling), [seen_at(0, previous), seen_at(1, current, motion)])
    tiles = tiles[1:]  # the first is asked what there is to know of all
    assert len(tiles) == 2 * (1 * 1 + 2 * 3)
    for tile in tiles:
        before, now = (seen.image for seen in tile.seen)
        flow, known = tile.seen[1].motion
        assert before.shape == now.shape == (1, 3, 80, 80)
        off = (warp(before, flow) - now).abs().amax(1, keepdim=True)
        y, x = torch.meshgrid(torch.arange(80), torch.arange(80), indexing="ij")
        to_x, to_y = x + flow[:, :1], y + flow[:, 1:]
        inside = known & (to_x >= 2) & (to_x <= 77) & (to_y >= 2) & (to_y <= 77)
        outside = (before == 0).all(1, keepdim=True)  # the mean colour, where the frame does not reach
        assert torch.equal(known, ~outside)
        assert flow[outside.expand_as(flow)].abs().sum() == 0
        near = functional.max_pool2d(outside.float(), 9, 1, 4) > 0
        assert off[inside & ~near].max() < 0.06
        assert (before - now).abs().mean() > 0.1


def test_a_mirror_image_has_the_mirrored_field_of_what_is_known() -> None:
    generator = torch.Generator().manual_seed(1)
    flow = torch.randn(1, 2, *FRAME, generator=generator)
    known = torch.rand(1, 1, *FRAME, generator=generator) > 0.5
    image = torch.randn(1, 3, *FRAME, generator=generator)
    tiles: list[Kept] = []
    tiling = Tiling(tile=24, stride=12, scales=(1.0,))
    steps(Tiled(lambda: Kept(tiles), tiling), [seen_at(0, image, Motion(flow, known))])
    for plain, mirrored in zip(tiles[1::2], tiles[2::2], strict=True):
        (one,), (other,) = plain.seen, mirrored.seen
        assert torch.equal(other.image, one.image.flip(-1))
        assert torch.equal(other.motion.flow_to_previous[:, 0], -one.motion.flow_to_previous[:, 0].flip(-1))
        assert torch.equal(other.motion.flow_to_previous[:, 1], one.motion.flow_to_previous[:, 1].flip(-1))
        assert torch.equal(other.motion.known, one.motion.known.flip(-1))


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    return network_of("resnet18")


@pytest.fixture(scope="module")
def frames() -> list[Seen]:
    return seen_of(moving(3))


@pytest.fixture(scope="module")
def per_frame(network: SegmentationNetwork, frames: list[Seen]) -> list[Tensor]:
    return steps(open_stepper_of(network, SchemeSettings(name="per-frame"), FEW), frames)[0]


@pytest.mark.parametrize(
    "settings",
    [
        SchemeSettings(name="warp-features", interval=1),
        SchemeSettings(name="clockwork", cuts=("layer2",), rates=(1, 1)),
    ],
    ids=lambda settings: settings.name,
)
def test_every_tile_has_a_state_of_its_own(
    settings: SchemeSettings, network: SegmentationNetwork, frames: list[Seen], per_frame: list[Tensor]
) -> None:
    found, costs = steps(open_stepper_of(network, settings, FEW), frames)
    assert all(torch.equal(one, other) for one, other in zip(found, per_frame, strict=True))
    stages = tuple(stage.name for stage in network.stages)
    assert [cost.ran for cost in costs] == [stages * 2 * (1 + 4)] * 3


@pytest.mark.parametrize(
    "settings",
    [
        SchemeSettings(name="warp-features", interval=3),
        SchemeSettings(name="warp-labels", interval=3),
        SchemeSettings(name="copy", interval=3),
        SchemeSettings(name="clockwork", cuts=("layer2",), rates=(1, 3)),
        SchemeSettings(name="adaptive-clockwork", threshold=0.5),
        SchemeSettings(name="pipelined-clockwork"),
    ],
    ids=lambda settings: settings.name,
)
def test_every_scheme_goes_on_from_frame_to_frame(
    settings: SchemeSettings, network: SegmentationNetwork, frames: list[Seen], per_frame: list[Tensor]
) -> None:
    stepper = open_stepper_of(network, settings, FEW)
    found, costs = steps(stepper, frames)
    assert costs[0].fused_from == (0,)
    assert {number for cost in costs[1:] for number in cost.fused_from} - {1, 2} == {0}
    assert sum(len(cost.ran) for cost in costs[1:]) <= 2 * len(costs[0].ran)
    if settings.name != "warp-labels":
        assert torch.equal(found[0], per_frame[0])
    agree = (found[1].argmax(1) == per_frame[1].argmax(1)).float().mean()
    assert 0.5 < agree < 1
    again, _ = steps(stepper, [Seen(0, frames[0].image, None, True, frames[0].find_motion), *frames[1:]])
    assert torch.equal(again[2], found[2])  # of what was there before the cut nothing is left


def test_the_motion_of_a_frame_is_worked_out_once_and_where_it_is_asked_for(network: SegmentationNetwork) -> None:
    asked: list[int] = []

    def counted(seen: Seen) -> Seen:
        def find_motion() -> Motion:
            asked.append(seen.number)
            return seen.find_motion()

        return Seen(seen.number, seen.image, seen.is_key, seen.is_new, find_motion)

    frames = seen_of(moving(3))
    for settings, expected in (
        (SchemeSettings(name="per-frame"), []),
        (SchemeSettings(name="warp-features", interval=2), [1]),
    ):
        asked.clear()
        _, costs = steps(open_stepper_of(network, settings, FEW), map(counted, frames))
        assert asked == expected
        assert [cost.motions for cost in costs] == [int(number in expected) for number in range(3)]


def test_frames_of_another_size_begin_anew(network: SegmentationNetwork) -> None:
    stepper = open_stepper_of(network, SchemeSettings(name="warp-features"), FEW)
    found, costs = steps(stepper, seen_of([*moving(1), *moving(1, size=(56, 64))]))
    assert [tuple(scores.shape[-2:]) for scores in found] == [(48, 64), (56, 64)]
    assert costs[1].fused_from == (1,)


def test_without_a_tiling_frames_are_whole(network: SegmentationNetwork, frames: list[Seen]) -> None:
    found, _ = steps(open_stepper_of(network, SchemeSettings(name="per-frame"), None), frames[:1])
    with torch.inference_mode():
        assert torch.equal(found[0], network(frames[0].image))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tile": 8, "stride": 9}, "stride must be within 1…8, the tile, found 9"),
        ({"scales": ()}, r"scales must be one or more positive numbers, found \(\)"),
        ({"scales": (1.0, 0.0)}, "scales must be one or more positive"),
    ],
)
def test_tilings_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Tiling(**settings)  # type: ignore[arg-type]
