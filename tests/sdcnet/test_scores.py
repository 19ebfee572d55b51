"""Scores of images and flows, on values that can be worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sdcnet.scores import FlowErrors, ImageErrors

SIZE = (24, 32)
EVERYWHERE = torch.ones(1, 1, *SIZE, dtype=torch.bool)
NOWHERE = ~EVERYWHERE
LEFT = torch.arange(SIZE[1]).expand(1, 1, *SIZE) < 16


@pytest.fixture
def frame() -> Tensor:
    return torch.randint(20, 230, (1, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_equal_images_reach_the_limits(frame: Tensor) -> None:
    scores = ImageErrors(frame.float(), frame).scores(EVERYWHERE)
    assert (scores.psnr, scores.ssim, scores.l1) == (pytest.approx(60), pytest.approx(1), 0)
    assert ImageErrors(frame.float() + 1e-3, frame).scores(EVERYWHERE).psnr == pytest.approx(60)


def test_constant_error_is_worked_out(frame: Tensor) -> None:
    scores = ImageErrors(frame.float() - 5, frame).scores(EVERYWHERE)
    assert scores.l1 == pytest.approx(5)
    assert scores.psnr == pytest.approx(20 * math.log10(255 / 5))


def test_an_error_in_one_channel_counts_a_third(frame: Tensor) -> None:
    predicted = frame.float()
    predicted[:, 1] += 6
    scores = ImageErrors(predicted, frame).scores(EVERYWHERE)
    assert scores.l1 == pytest.approx(2)
    assert scores.psnr == pytest.approx(10 * math.log10(255**2 / (36 / 3)))


@pytest.mark.parametrize("contrast", [1.0, 0.02])
def test_scores_are_those_of_scikit_image(frame: Tensor, contrast: float) -> None:
    """Without contrast, all that SSIM compares with is its constants."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity  # and SciPy: a second

    frame = (frame * contrast).to(torch.uint8)
    predicted = frame + 30 * contrast * torch.rand(frame.shape, generator=torch.Generator().manual_seed(1))
    scores = ImageErrors(predicted, frame).scores(EVERYWHERE)
    first, second = (image[0].permute(1, 2, 0).numpy().astype(np.float64) for image in (predicted, frame))
    assert scores.psnr == pytest.approx(peak_signal_noise_ratio(second, first, data_range=255))
    ssim = structural_similarity(
        first, second, channel_axis=2, data_range=255, gaussian_weights=True, use_sample_covariance=False
    )
    assert scores.ssim == pytest.approx(ssim, abs=1e-6)


def test_only_the_asked_pixels_count(frame: Tensor) -> None:
    predicted = torch.where(LEFT, frame, frame + 10.0)
    errors = ImageErrors(predicted, frame)
    left, right, whole = (errors.scores(where) for where in (LEFT, ~LEFT, EVERYWHERE))
    assert (left.psnr, left.l1) == (pytest.approx(60), 0)
    assert (right.l1, whole.l1) == (pytest.approx(10), pytest.approx(5))
    assert right.psnr == pytest.approx(20 * math.log10(255 / 10))
    assert left.ssim > whole.ssim > right.ssim


def test_no_pixels_have_no_scores(frame: Tensor) -> None:
    scores = ImageErrors(frame.float(), frame).scores(NOWHERE)
    assert all(map(math.isnan, (scores.psnr, scores.ssim, scores.l1)))
    errors = FlowErrors.of(torch.zeros(1, 2, *SIZE), torch.zeros(1, 2, *SIZE), NOWHERE)
    assert math.isnan(errors.epe)
    assert math.isnan(errors.outliers)


def test_end_point_error_is_the_distance_of_the_end_points() -> None:
    truth = torch.zeros(1, 2, *SIZE)
    truth[:, 0, :, :16] = 3
    truth[:, 1, :, :16] = -4
    errors = FlowErrors.of(torch.zeros_like(truth), truth, EVERYWHERE)
    assert (errors.num_pixels, errors.epe, errors.outliers) == (24 * 32, pytest.approx(2.5), 0.5)
    assert FlowErrors.of(truth, truth, EVERYWHERE) == FlowErrors(24 * 32, 0, 0)
    assert FlowErrors.of(torch.zeros_like(truth), truth, LEFT).epe == pytest.approx(5)


@pytest.mark.parametrize(
    ("length", "error", "is_outlier"),
    [(10, 2.9, False), (10, 3.1, True), (0, 3.1, True), (100, 4.9, False), (100, 5.1, True), (10, 3, False)],
)
def test_outlier_errs_by_more_than_3_pixels_and_5_percent(length: float, error: float, is_outlier: bool) -> None:
    truth, flow = torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    truth[0, 0] = length
    flow[0, 0], flow[0, 1] = length, error
    assert FlowErrors.of(flow, truth, torch.ones(1, 1, 1, 1).bool()).num_outliers == is_outlier


def test_an_outlier_is_measured_by_the_length_of_the_truth() -> None:
    truth, flow = torch.tensor([100.0, 0.0]).view(1, 2, 1, 1), torch.tensor([105.1, 0.0]).view(1, 2, 1, 1)
    assert FlowErrors.of(flow, truth, torch.ones(1, 1, 1, 1).bool()).num_outliers == 1
    assert FlowErrors.of(truth, flow, torch.ones(1, 1, 1, 1).bool()).num_outliers == 0


def test_errors_of_two_flows_add_up_by_pixels() -> None:
    both = FlowErrors(1, 4.0, 1) + FlowErrors(3, 0.0, 0)
    assert (both.epe, both.outliers) == (1, 0.25)
