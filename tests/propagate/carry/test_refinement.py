"""Displacements corrected on the images: drift goes, motion ends where things end, and right ones stay."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from propagate.carry.paths import HostPath
from propagate.carry.refinement import refine, resized, sharpen, small

HEIGHT, WIDTH = 96, 128
HOST = HostPath()
SQUARE = (slice(30, 62), slice(40, 80))  # in the target
MOVED = 8  # pixels to the right of its place in the annotated frame


def texture(seed: int, low: int, high: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH, 3), dtype=np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, low, high, cv2.NORM_MINMAX, cv2.CV_8U)


def as_frame(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


@pytest.fixture(scope="module")
def scene() -> tuple[Tensor, Tensor, Tensor]:
    """A square moved over a still ground: target, annotated frame, true flow_target_to_annotated."""
    ground, thing = texture(0, 0, 160), texture(1, 90, 255)
    target, annotated = ground.copy(), ground.copy()
    rows, columns = SQUARE
    target[rows, columns] = thing[rows, columns]
    annotated[rows, columns.start - MOVED : columns.stop - MOVED] = thing[rows, columns]
    flow = torch.zeros(1, 2, HEIGHT, WIDTH)
    flow[:, 0, rows, columns] = -MOVED
    return as_frame(target), as_frame(annotated), flow


def wrong(flow: Tensor, truth: Tensor) -> Tensor:
    return (flow - truth).norm(dim=1) > 1


def test_drift_is_taken_back() -> None:
    frame = as_frame(texture(0, 0, 255))
    drifted = torch.full((1, 2, HEIGHT, WIDTH), 1.5)
    assert refine(drifted, frame, frame, HOST)[..., 8:-8, 8:-8].abs().max() < 0.1


def test_what_matches_perfectly_stays() -> None:
    frame = as_frame(texture(0, 0, 255))
    assert torch.equal(refine(torch.zeros(1, 2, HEIGHT, WIDTH), frame, frame, HOST), torch.zeros(1, 2, HEIGHT, WIDTH))


def test_motion_that_reaches_too_far_ends_where_the_thing_ends(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    target, annotated, truth = scene
    fat = truth.clone()
    rows, columns = SQUARE
    fat[:, 0, rows.start - 6 : rows.stop + 6, columns.start : columns.stop + 6] = -MOVED
    before, after = wrong(fat, truth).sum(), wrong(refine(fat, target, annotated, HOST), truth).sum()
    assert before > 500
    assert after < before / 3


def test_motion_that_reaches_too_short_is_extended(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    target, annotated, truth = scene
    thin = torch.zeros_like(truth)
    rows, columns = SQUARE
    thin[:, 0, rows.start + 6 : rows.stop - 6, columns.start + 6 : columns.stop - 6] = -MOVED
    before, after = wrong(thin, truth).sum(), wrong(refine(thin, target, annotated, HOST), truth).sum()
    assert before > 500
    assert after < before / 2  # the ground that the square uncovers is in no other frame


@pytest.fixture
def without_dis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("propagate.carry.paths.dis_correction", lambda *given: given[2].copy())


def grey(values: np.ndarray) -> Tensor:
    return as_frame(np.repeat(values[..., None].astype(np.uint8), 3, axis=2))


@pytest.mark.usefixtures("without_dis")
@pytest.mark.parametrize("axis", [0, 1])
def test_what_four_pixels_know_reaches_sixty_pixels_to_every_side(axis: int) -> None:
    """By 32, 16, 8 and 4: all is bright, and below (or to the right) of the half that was dark it already was."""
    annotated = np.full((80, 192), 200)
    annotated[:40] = 50
    flow = torch.zeros(1, 2, 80, 192)
    flow[:, 1, :40, 94:98] = 40
    if axis == 1:
        annotated, flow = annotated.T, flow.transpose(2, 3).flip(1)
    found = refine(flow, grey(np.full_like(annotated, 200)), grey(annotated), HOST)
    known = found[0].flip(0).transpose(1, 2)[1] if axis == 1 else found[0, 1]
    columns = (known[20] == 40).nonzero().flatten().tolist()
    assert columns == list(range(94 - 60, 98 + 60))


@pytest.mark.usefixtures("without_dis")
@pytest.mark.parametrize(("difference", "moves"), [(1, False), (2, True)])
def test_a_neighbour_must_match_better_by_more_than_four_levels(difference: int, moves: bool) -> None:
    """Summed over channels: a grey level is three."""
    annotated = np.full((80, 192), 100)
    annotated[:40] += difference
    flow = torch.zeros(1, 2, 80, 192)
    flow[:, 1, :40, 80:112] = 40
    found = refine(flow, grey(np.full_like(annotated, 100)), grey(annotated), HOST)
    assert bool((found[0, 1, 20, 60:78] == 40).all()) is moves  # beyond, the window sees what matches already
    assert bool((found == flow).all()) is not moves


@pytest.mark.usefixtures("without_dis")
def test_what_points_outside_the_frame_gives_way_to_what_does_not() -> None:
    """However badly that matches: at the border the frame would go on as it ends."""
    dark = grey(np.full((80, 192), 10))
    flow = torch.zeros(1, 2, 80, 192)
    flow[:, 0, :, 96:] = 500
    found = refine(flow, grey(np.full((80, 192), 240)), dark, HOST)
    assert (found[0, 0, 20, : 96 + 60] == 0).all()


def test_a_displacement_that_dis_makes_worse_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = as_frame(texture(0, 0, 255))
    monkeypatch.setattr("propagate.carry.paths.dis_correction", lambda *given: given[2] + 3)
    assert torch.equal(refine(torch.zeros(1, 2, HEIGHT, WIDTH), frame, frame, HOST), torch.zeros(1, 2, HEIGHT, WIDTH))


def test_its_input_is_left_alone_and_its_output_is_reproducible(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    target, annotated, truth = scene
    given = truth + 0.5
    copy = given.clone()
    first = refine(given, target, annotated, HOST)
    assert torch.equal(given, copy)
    cv2_threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
    try:
        cv2.setNumThreads(3)
        torch.set_num_threads(1)
        assert torch.equal(refine(given, target, annotated, HOST), first)
    finally:
        cv2.setNumThreads(cv2_threads)
        torch.set_num_threads(torch_threads)


def test_what_was_found_on_halves_is_lifted_and_ends_where_things_end(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    target, annotated, truth = scene
    halves = torch.nn.functional.avg_pool2d(truth, 2) / 2
    fat = halves.clone()
    fat[:, 0, 13:33, 20:43] = -MOVED / 2  # six pixels too far to three sides
    before, after = (
        wrong(resized(fat, (HEIGHT, WIDTH)), truth).sum(),
        wrong(sharpen(fat, target, annotated, HOST), truth).sum(),
    )
    assert before > 300
    assert after < before / 2


def test_a_flow_of_another_size_counts_in_pixels_of_that_size() -> None:
    flow = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 20, 30)
    larger = resized(flow, (40, 90))
    assert larger.shape == (1, 2, 40, 90)
    torch.testing.assert_close(larger, torch.tensor([9.0, -4.0]).view(1, 2, 1, 1).expand_as(larger))
    torch.testing.assert_close(resized(larger, (20, 30)), flow.contiguous())
    assert resized(flow, (20, 30)) is flow


def test_frames_are_halved_until_they_are_small() -> None:
    assert small(torch.zeros(1, 3, 1024, 1024, dtype=torch.uint8)).shape == (1, 3, 1024, 1024)
    assert small(torch.zeros(1, 3, 1025, 1024, dtype=torch.uint8)).shape == (1, 3, 512, 512)
    assert small(torch.zeros(1, 3, 1201, 3601, dtype=torch.uint8)).shape == (1, 3, 300, 900)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_it_is_the_same_however_it_is_cut(
    scene: tuple[Tensor, Tensor, Tensor], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, annotated, truth = scene
    whole = refine(truth + 0.5, target, annotated, HOST)
    monkeypatch.setattr("propagate.carry.choice.BAND_ROWS", rows)
    assert torch.equal(refine(truth + 0.5, target, annotated, HOST), whole)
