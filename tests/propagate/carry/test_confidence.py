"""Confidence: what lowers it, what must not, and that it is a probability; and the reasons that pixels have."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from propagate.carry.confidence import (
    BOUNDARY_PARTS,
    BOUNDARY_REACH,
    ODDS,
    OUTSIDE_FACTOR,
    confidence,
    match,
    outlines,
    photometric_difference,
    reasons,
    rival_distance,
    to_outline,
)
from propagate.carry.paths import HostPath
from propagate.data.sample import COVERED, ENTERED, MATCHED, MISMATCH
from sdcnet.geometry import inside

SIZE = (40, 56)
FAR_FROM_OUTLINES = ODDS / (1 + BOUNDARY_REACH) ** 1.25
BEST = 1 / (1 + FAR_FROM_OUTLINES)
HOST = HostPath()
ONE_LABEL = torch.zeros(1, 1, *SIZE, dtype=torch.uint8)


def sure(flow: Tensor, target: Tensor, annotated: Tensor, label: Tensor = ONE_LABEL) -> Tensor:
    return confidence(match(flow, target, annotated, HOST), to_outline(label, HOST))


def told(flow: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """[H,W] reasons."""
    return reasons(match(flow, target, annotated, HOST), HOST)[0, 0]


def constant_flow(dx: float, dy: float) -> Tensor:
    return torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *SIZE).contiguous()


@pytest.fixture(scope="module")
def frame() -> Tensor:
    noise = np.random.default_rng(0).random((*SIZE, 3), dtype=np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 40, 200, cv2.NORM_MINMAX, cv2.CV_8U)
    return torch.from_numpy(smooth).permute(2, 0, 1)[None].contiguous()


def test_nothing_moved_and_nothing_changed_is_the_best_there_is(frame: Tensor) -> None:
    still = constant_flow(0, 0)
    found = sure(still, frame, frame)
    assert found.shape == (1, 1, *SIZE)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full_like(found, BEST))


def test_what_comes_from_outside_the_frame_has_six_times_the_odds_of_what_matches_like_it() -> None:
    found = sure(constant_flow(5, 0), flat_frame(), flat_frame())
    torch.testing.assert_close(found[..., :-5], torch.full_like(found[..., :-5], BEST))
    expected = 1 / (1 + OUTSIDE_FACTOR * FAR_FROM_OUTLINES)
    torch.testing.assert_close(found[..., -5:], torch.full_like(found[..., -5:], expected))
    assert 0 < expected < BEST


def test_towards_an_outline_of_the_labels_doubt_grows() -> None:
    """Within a thirty-second of the frame's height."""
    height, width = 320, 56
    label = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    label[..., 28:] = 7
    flat, still = torch.full((1, 3, height, width), 128, dtype=torch.uint8), torch.zeros(1, 2, height, width)
    found = sure(still, flat, flat, label)
    distance = ((torch.arange(width) - 27.5).abs() - 0.5) * BOUNDARY_PARTS / height
    expected = 1 / (1 + ODDS / (1 + distance.clamp(max=BOUNDARY_REACH)) ** 1.25)
    torch.testing.assert_close(found, expected.expand_as(found))
    assert found[..., 10, 28 + 9] < found[..., 10, 28 + 10] == found[..., 10, 28 + 11]


def test_an_outline_has_a_pixel_on_either_side_and_none_at_the_border() -> None:
    label = ONE_LABEL.clone()
    label[..., 10:20, 30:40] = 3
    expected = torch.zeros_like(label, dtype=torch.bool)
    expected[..., 10:20, 29] = expected[..., 10:20, 40] = True
    expected[..., 9, 30:40] = expected[..., 20, 30:40] = True
    expected[..., 10:20, 30:40] = True
    expected[..., 11:19, 31:39] = False
    assert torch.equal(outlines(label), expected)
    assert not outlines(ONE_LABEL).any()


def flat_frame(level: int = 128) -> Tensor:
    return torch.full((1, 3, *SIZE), level, dtype=torch.uint8)


def claims(flow: Tensor, mismatch: Tensor | float = 0.0) -> Tensor:
    """[H,W]: how far each pixel's rival is."""
    mismatch = torch.as_tensor(mismatch).expand(1, 1, *SIZE)
    return rival_distance(flow, mismatch, inside(flow))[0, 0]


def test_who_is_alone_at_his_place_has_no_rival() -> None:
    assert (claims(constant_flow(0, 0)) == 0).all()
    assert (claims(constant_flow(7.4, -3.6)) == 0).all()


def test_of_two_who_claim_a_place_the_one_that_matches_has_it() -> None:
    """The left columns say that they come from where the middle ones are."""
    flow = constant_flow(0, 0)
    flow[:, 0, :, :10] = 20
    matches = torch.zeros(1, 1, *SIZE)
    matches[..., 20:30] = 9
    assert (claims(flow, matches)[:, 20:30] == 20).all()
    assert (claims(flow, matches)[:, :20] == 0).all()
    assert (claims(flow, 9 - matches)[:, :10] == 20).all()
    assert (claims(flow, 9 - matches)[:, 10:] == 0).all()


def test_a_tie_goes_to_the_first() -> None:
    flow = constant_flow(0, 0)
    flow[:, 1, :5] = 8
    found = claims(flow)
    assert (found[8:13] == 8).all()
    assert found.sum() == 5 * SIZE[1] * 8


def test_what_points_outside_claims_nothing() -> None:
    flow = constant_flow(0, 0)
    flow[:, 0, :, -10:] = 100  # the last column is as near as one gets
    assert (claims(flow) == 0).all()


@pytest.mark.parametrize(("way", "distance", "rival"), [(0, 8, 7.0), (20, 20, 9.0), (2, 2, 2 / 1.1 - 1), (1, 1, 0.0)])
def test_a_rival_counts_in_steps_of_a_pixel_and_a_twentieth_of_the_way(way: int, distance: int, rival: float) -> None:
    """The odds of a wrong label grow with the root of 1 + rival; the first pixel is free."""
    flow = constant_flow(way, 0)
    flow[:, 0, :, :distance] = way + distance  # of equal matches the first is preferred: so the others lose
    found = sure(flow, flat_frame(), flat_frame())
    expected = 1 / (1 + FAR_FROM_OUTLINES * (1 + rival) ** 0.5)
    losers = found[..., distance : min(2 * distance, SIZE[1] - way)]
    torch.testing.assert_close(losers, torch.full_like(losers, expected))


def test_a_difference_counts_squared_in_steps_of_four_grey_levels() -> None:
    """A chessboard, which no window averages away."""
    squares = torch.from_numpy((np.indices(SIZE).sum(0) % 2 * 40).astype(np.uint8)).expand(1, 3, *SIZE)
    grey = torch.full_like(squares, 20)
    found = sure(constant_flow(0, 0), squares.contiguous(), grey)
    expected = torch.full_like(found, FAR_FROM_OUTLINES * (1 + 20 / 4) ** 2)
    torch.testing.assert_close(1 / found - 1, expected, rtol=0.05, atol=0)


def test_windows_are_of_31_pixels_for_light_and_of_7_for_what_differs() -> None:
    flat = torch.full((1, 3, *SIZE), 100, dtype=torch.uint8)
    spot = flat.clone()
    spot[..., 20, 28] = 196
    found = photometric_difference(spot, flat, constant_flow(0, 0), HOST)[0, 0]
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
    striped = (torch.arange(SIZE[1]) % 2).byte().expand_as(ONE_LABEL)
    found = sure(still, changed, frame, striped)
    assert found[..., 12:20, 12:20].mean() < 0.5
    assert found[..., 30:, 40:].min() > 0.95


def test_light_that_drifts_is_no_mismatch(frame: Tensor) -> None:
    brighter = frame + 25
    still = constant_flow(0, 0)
    assert photometric_difference(brighter, frame, still, HOST).max() < 1
    assert sure(still, brighter, frame, (frame[:, :1] > 120).byte()).min() > 0.95


def test_the_annotated_frame_is_read_where_the_displacement_points(frame: Tensor) -> None:
    moved = torch.roll(frame, 4, dims=3)  # what the target shows lies 4 pixels to the left in the annotated frame
    assert photometric_difference(moved, frame, constant_flow(-4, 0), HOST)[..., 24:-24].max() < 1e-3
    assert photometric_difference(moved, frame, constant_flow(0, 0), HOST)[..., 24:-24].mean() > 3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), reach=st.sampled_from([0.1, 3.0, 100.0, 1e6]))
def test_it_is_a_probability_whatever_comes(seed: int, reach: float) -> None:
    random = torch.Generator().manual_seed(seed)
    flow = torch.randn(1, 2, *SIZE, generator=random) * reach
    frames = torch.randint(0, 256, (2, 1, 3, *SIZE), dtype=torch.uint8, generator=random)
    label = torch.randint(0, 2, (1, 1, *SIZE), dtype=torch.uint8, generator=random)
    found = sure(flow, frames[0], frames[1], label)
    assert torch.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= BEST


def test_a_thing_that_moves_covers_mismatches_and_enters(frame: Tensor) -> None:
    """A pan by 6 pixels; a patch that looks otherwise; columns that would come from where those 20 to the right do."""
    flow = constant_flow(6, 0)
    flow[:, 0, :, :18] = 26
    target = torch.roll(frame, -6, dims=3)
    target[:, :, 4:14, 24:34] = 255 - target[:, :, 4:14, 24:34]
    target[..., :18] = 128
    found = told(flow, target, frame)
    assert (found[:, -6:] == ENTERED).all()
    assert (found[:, 1:10] == COVERED).all()
    assert (found[7:11, 27:31] == MISMATCH).all()
    assert (found[24:36, 26:-12] == MATCHED).all()


def test_a_pixel_that_has_a_rival_alone_is_not_covered(frame: Tensor) -> None:
    flow = constant_flow(0, 0)
    flow[:, 0, 20:26, 10:16] = 30
    assert (told(flow, frame, frame) != COVERED).all()
