"""Motion without learned weights: known shifts are found, and settings of the process change nothing."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from sdcnet.errors import MotionError
from sdcnet.motion.classical import Dis, NoMotion, TvL1, dis_correction, dis_flow, to_grey
from sdcnet.motion.estimator import MotionEstimator, Observation, ObservedPixels, Step
from sdcnet.motion.registry import MotionSettings, open_estimator

GOLDEN = Path(__file__).parents[2] / "golden"
SHIFT = (4, -2)  # dx, dy of flow_target_to_source
INNER = (..., slice(16, -16), slice(16, -16))


def textured(height: int, width: int) -> np.ndarray:
    """[H,W,3] uint8 with structure at several scales."""
    noise = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    layers = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4, 8))
    return cv2.normalize(layers, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)


@pytest.fixture(scope="module")
def frames() -> dict[int, Tensor]:
    """Frame 1 shows what frame 0 shows SHIFT away."""
    canvas = torch.from_numpy(textured(120, 150)).permute(2, 0, 1)[None]
    dx, dy = SHIFT
    source = canvas[:, :, 10:106, 10:138]
    target = canvas[:, :, 10 + dy : 106 + dy, 10 + dx : 138 + dx]
    return {0: source.contiguous(), 1: target.contiguous()}


def observed(frames: dict[int, Tensor]) -> dict[int, Observation]:
    return {offset: ObservedPixels(frame) for offset, frame in frames.items()}


@pytest.fixture
def opencv_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize(("estimator", "tolerance"), [(Dis(), 0.1), (TvL1(), 0.5)])
def test_a_known_shift_is_found(frames: dict[int, Tensor], estimator: MotionEstimator, tolerance: float) -> None:
    (flow,) = estimator.estimate(observed(frames), [Step((0,), 1)])
    assert flow.shape == (1, 2, 96, 128)
    assert flow.dtype == torch.float32
    error = (flow - torch.tensor(SHIFT).view(1, 2, 1, 1))[INNER].abs()
    assert error.mean() < tolerance


def test_no_motion_is_none(frames: dict[int, Tensor]) -> None:
    (flow,) = NoMotion().estimate(observed(frames), [Step((0,), 1)])
    assert torch.equal(flow, torch.zeros(1, 2, 96, 128))


def test_a_flow_that_is_known_exactly_is_found_to_a_tenth_of_a_pixel() -> None:
    """The published program of NetWarp, on colours down to half the size, is off by 0.117 pixels here."""
    with np.load(GOLDEN / "netwarp_dis.npz") as pair:
        current, previous = (cv2.cvtColor(pair[name], cv2.COLOR_BGR2GRAY) for name in ("current_bgr", "previous_bgr"))
        published = pair["of_dis_flow_q"] / 1024
    y, x = np.mgrid[: current.shape[0], : current.shape[1]]
    u = 3 + 0.02 * (x - 128) + 1.5 * np.sin(2 * np.pi * y / 128)
    v = -1.5 + 0.02 * (y - 64) + np.cos(2 * np.pi * x / 256)
    errors = [np.hypot(flow[..., 0] - u, flow[..., 1] - v).mean() for flow in (published, dis_flow(current, previous))]
    assert errors[0] == pytest.approx(0.117, abs=5e-4)
    assert errors[1] < 0.1  # 0.071


def test_a_correction_stays_near_a_guess_and_leaves_it_alone(frames: dict[int, Tensor]) -> None:
    target, source = to_grey(frames[1]), to_grey(frames[0])
    guess = np.broadcast_to(np.float32(SHIFT) + np.float32([0.7, -0.6]), (96, 128, 2)).copy()
    before = guess.copy()
    flow = dis_correction(target, source, guess)
    assert np.array_equal(guess, before)
    assert np.abs(flow - SHIFT)[16:-16, 16:-16].mean() < 0.1


def test_a_flow_does_not_depend_on_the_flows_before_it(frames: dict[int, Tensor]) -> None:
    target, source = to_grey(frames[1]), to_grey(frames[0])
    alone = dis_flow(target, source)
    dis_correction(source, target, np.full((96, 128, 2), 9, np.float32))
    assert np.array_equal(dis_flow(target, source), alone)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.usefixtures("opencv_threads")
def test_threads_change_nothing_and_are_given_back(frames: dict[int, Tensor], threads: int) -> None:
    target, source = to_grey(frames[1]), to_grey(frames[0])
    expected = dis_flow(target, source)
    cv2.setNumThreads(threads)
    assert np.array_equal(dis_flow(target, source), expected)
    assert cv2.getNumThreads() == threads


def test_frames_too_small_for_dis_are_refused() -> None:
    tiny = {i: torch.zeros(1, 3, 11, 64, dtype=torch.uint8) for i in (0, 1)}
    with pytest.raises(MotionError, match="frames of 11x64 are too small for DIS; each side needs 12 pixels"):
        list(Dis().estimate(observed(tiny), [Step((0,), 1)]))


def test_the_smallest_frames_that_dis_takes() -> None:
    small = {i: torch.zeros(1, 3, 12, 12, dtype=torch.uint8) for i in (0, 1)}
    (flow,) = Dis().estimate(observed(small), [Step((0,), 1)])
    assert flow.shape == (1, 2, 12, 12)


@pytest.mark.parametrize("name", ["dis", "tvl1", "none"])
def test_every_name_opens_its_estimator(name: str) -> None:
    assert open_estimator(MotionSettings(name=name)).fingerprint["motion"] == name


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(MotionError, match="no motion estimator 'pwcnet'; known are dis, tvl1, none"):
        MotionSettings(name="pwcnet")
