"""Displacements corrected on the images: drift goes, motion ends where things end, and right ones stay."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from propagate.carry.refinement import refine

HEIGHT, WIDTH = 96, 128
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
    assert refine(drifted, frame, frame)[..., 8:-8, 8:-8].abs().max() < 0.1


def test_what_matches_perfectly_stays() -> None:
    frame = as_frame(texture(0, 0, 255))
    assert torch.equal(refine(torch.zeros(1, 2, HEIGHT, WIDTH), frame, frame), torch.zeros(1, 2, HEIGHT, WIDTH))


def test_motion_that_reaches_too_far_ends_where_the_thing_ends(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    target, annotated, truth = scene
    fat = truth.clone()
    rows, columns = SQUARE
    fat[:, 0, rows.start - 6 : rows.stop + 6, columns.start : columns.stop + 6] = -MOVED
    before, after = wrong(fat, truth).sum(), wrong(refine(fat, target, annotated), truth).sum()
    assert before > 500
    assert after < before / 3


def test_motion_that_reaches_too_short_is_extended(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    target, annotated, truth = scene
    thin = torch.zeros_like(truth)
    rows, columns = SQUARE
    thin[:, 0, rows.start + 6 : rows.stop - 6, columns.start + 6 : columns.stop - 6] = -MOVED
    before, after = wrong(thin, truth).sum(), wrong(refine(thin, target, annotated), truth).sum()
    assert before > 500
    assert after < before / 2  # the ground that the square uncovers is in no other frame


def test_its_input_is_left_alone_and_its_output_is_reproducible(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    target, annotated, truth = scene
    given = truth + 0.5
    copy = given.clone()
    first = refine(given, target, annotated)
    assert torch.equal(given, copy)
    cv2_threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
    try:
        cv2.setNumThreads(3)
        torch.set_num_threads(1)
        assert torch.equal(refine(given, target, annotated), first)
    finally:
        cv2.setNumThreads(cv2_threads)
        torch.set_num_threads(torch_threads)
