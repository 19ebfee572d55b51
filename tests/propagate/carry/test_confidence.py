"""Confidence: what lowers it, what must not, and that it is a probability."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from propagate.carry.confidence import ODDS, confidence, photometric_difference
from propagate.carry.walk import Displacement

SIZE = (40, 56)
BEST = 1 / (1 + ODDS)


def constant_flow(dx: float, dy: float) -> Tensor:
    return torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *SIZE).contiguous()


def displacement(flow: Tensor, reverse: Tensor) -> Displacement:
    return Displacement(1, flow, flow, reverse)


@pytest.fixture(scope="module")
def frame() -> Tensor:
    noise = np.random.default_rng(0).random((*SIZE, 3), dtype=np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 40, 200, cv2.NORM_MINMAX, cv2.CV_8U)
    return torch.from_numpy(smooth).permute(2, 0, 1)[None].contiguous()


def test_nothing_moved_and_nothing_changed_is_the_best_there_is(frame: Tensor) -> None:
    still = constant_flow(0, 0)
    found = confidence(displacement(still, still), frame, frame)
    assert found.shape == (1, 1, *SIZE)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full_like(found, BEST))


def test_what_comes_from_outside_the_frame_has_none(frame: Tensor) -> None:
    found = confidence(displacement(constant_flow(5, 0), constant_flow(-5, 0)), frame, frame)
    assert (found[..., -5:] == 0).all()
    assert (found[..., :-5] > 0).all()


def test_a_longer_round_trip_means_less_confidence(frame: Tensor) -> None:
    still = constant_flow(0, 0)
    means = [confidence(displacement(still, constant_flow(miss, 0)), frame, frame).mean() for miss in (0, 1, 3, 9)]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) == 4


def test_the_same_miss_counts_less_on_a_longer_way(frame: Tensor) -> None:
    flat = torch.full_like(frame, 128)
    near = confidence(displacement(constant_flow(1, 0), constant_flow(1, 0)), flat, flat)
    far = confidence(displacement(constant_flow(20, 0), constant_flow(-18, 0)), flat, flat)
    assert (far[..., 0] > near[..., 0]).all()


@pytest.mark.parametrize(
    ("way", "miss", "trip"),
    [(0, 3.0, 3.0), (20, 0.0, 0.0), (20, 3.0, 1.5), (20, 14.0, 7.0), (40, 3.0, 1.0)],
)
def test_a_miss_counts_in_steps_of_a_pixel_and_a_twentieth_of_the_way(way: int, miss: float, trip: float) -> None:
    """The odds of a wrong label are 0.01 at best, and grow with 1 + trip to the power of 0.35."""
    flat = torch.full((1, 3, *SIZE), 128, dtype=torch.uint8)
    flow, reverse = constant_flow(way, 0), constant_flow(miss - way, 0)
    found = confidence(Displacement(2, constant_flow(way / 2, 0), flow, reverse), flat, flat)
    expected = 1 / (1 + 0.01 * (1 + trip) ** 0.35)
    torch.testing.assert_close(found[..., : SIZE[1] - way], torch.full((1, 1, SIZE[0], SIZE[1] - way), expected))


def test_a_difference_counts_squared_in_steps_of_four_grey_levels() -> None:
    """A chessboard, which no window averages away."""
    squares = torch.from_numpy((np.indices(SIZE).sum(0) % 2 * 40).astype(np.uint8)).expand(1, 3, *SIZE)
    grey = torch.full_like(squares, 20)
    found = confidence(displacement(constant_flow(0, 0), constant_flow(0, 0)), squares.contiguous(), grey)
    expected = 1 / (1 + 0.01 * (1 + 20 / 4) ** 2)
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0.005, atol=0)


def test_the_way_back_begins_where_the_way_there_ends() -> None:
    """Half of the frame moves and comes back; the other half, into which nothing leads, would not."""
    flow, reverse = constant_flow(0, 0), constant_flow(9, 0)
    flow[:, 0, :, :20], reverse[:, 0, :, 20:40] = 20, -20
    flat = torch.full((1, 3, *SIZE), 128, dtype=torch.uint8)
    found = confidence(displacement(flow, reverse), flat, flat)
    torch.testing.assert_close(found[..., :20], torch.full((1, 1, SIZE[0], 20), BEST))


def test_windows_are_of_31_pixels_for_light_and_of_7_for_what_differs() -> None:
    flat = torch.full((1, 3, *SIZE), 100, dtype=torch.uint8)
    spot = flat.clone()
    spot[..., 20, 28] = 196
    found = photometric_difference(spot, flat, constant_flow(0, 0))[0, 0]
    assert found[20, 28] == pytest.approx(96 * (1 - 1 / 961 + 48 / 961) / 49, rel=1e-3)
    rows, columns = (found > 0.5).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (17, 23, 25, 31)
    rows, columns = (found > 1e-4).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 38, 10, 46)


def test_a_stranger_in_the_picture_is_doubted_there_and_only_there(frame: Tensor) -> None:
    changed = frame.clone()
    noise = np.random.default_rng(1).integers(0, 256, (3, 12, 12), np.uint8)
    changed[0, :, 10:22, 10:22] = torch.from_numpy(noise)
    still = constant_flow(0, 0)
    found = confidence(displacement(still, still), changed, frame)
    assert found[..., 12:20, 12:20].mean() < 0.5
    assert found[..., 30:, 40:].min() > 0.95


def test_light_that_drifts_is_no_mismatch(frame: Tensor) -> None:
    brighter = frame + 25
    still = constant_flow(0, 0)
    assert photometric_difference(brighter, frame, still).max() < 1
    assert confidence(displacement(still, still), brighter, frame).min() > 0.97


def test_the_annotated_frame_is_read_where_the_displacement_points(frame: Tensor) -> None:
    moved = torch.roll(frame, 4, dims=3)  # what the target shows lies 4 pixels to the left in the annotated frame
    assert photometric_difference(moved, frame, constant_flow(-4, 0))[..., 24:-24].max() < 1e-3
    assert photometric_difference(moved, frame, constant_flow(0, 0))[..., 24:-24].mean() > 3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), reach=st.sampled_from([0.1, 3.0, 100.0, 1e6]))
def test_it_is_a_probability_whatever_comes(seed: int, reach: float) -> None:
    random = torch.Generator().manual_seed(seed)
    flow, reverse = (torch.randn(1, 2, *SIZE, generator=random) * reach for _ in range(2))
    frames = torch.randint(0, 256, (2, 1, 3, *SIZE), dtype=torch.uint8, generator=random)
    found = confidence(displacement(flow, reverse), frames[0], frames[1])
    assert torch.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= BEST
