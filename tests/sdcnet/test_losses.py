"""The predictor's losses on images whose losses are known; the stored numbers are in test_predictor.py."""

import pytest
import torch

from sdcnet.losses import colour_loss, gradient_loss, prediction_losses, smoothness_loss
from sdcnet.networks.predictor import Prediction


def ramp(step_x: float, step_y: float, channels: int = 3) -> torch.Tensor:
    """[1,channels,4,5], a plane of these slopes."""
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    return (step_x * x + step_y * y).expand(1, channels, 4, 5)


def test_colour_is_a_fraction_of_the_range() -> None:
    assert colour_loss(torch.full((2, 3, 4, 5), 51.0), torch.zeros(2, 3, 4, 5)) == pytest.approx(0.2)


def test_gradient_adds_both_directions_in_levels() -> None:
    assert gradient_loss(ramp(3, 7), ramp(1, 2)) == pytest.approx(2 + 5)


def test_gradient_compares_lengths_not_signs_and_no_colours() -> None:
    assert gradient_loss(ramp(-3, 2) + 90, ramp(3, -2)) == 0


def test_smoothness_adds_both_directions_in_pixels() -> None:
    assert smoothness_loss(ramp(-0.5, 2, channels=2)) == pytest.approx(0.5 + 2)
    assert smoothness_loss(torch.full((1, 2, 4, 5), 9.0)) == 0


def test_total_is_the_weighted_sum() -> None:
    prediction = Prediction(flow_target_to_source=ramp(1, 2, channels=2), frame=ramp(3, 7) + 100)
    losses = prediction_losses(prediction, ramp(1, 2))
    assert losses.colour == colour_loss(prediction.frame, ramp(1, 2))
    assert losses.gradient == pytest.approx(7)
    assert losses.smoothness == pytest.approx(3)
    assert losses.total == pytest.approx(0.7 * losses.colour.item() + 0.2 * 7 + 0.1 * 3)


def test_all_losses_have_gradients() -> None:
    frame, flow = (ramp(3, 7) + 100).clone().requires_grad_(), ramp(1, 2, channels=2).clone().requires_grad_()
    prediction_losses(Prediction(flow, frame), ramp(1, 2)).total.backward()
    assert frame.grad is not None
    assert frame.grad.abs().sum() > 0
    assert flow.grad is not None
    assert flow.grad.abs().sum() > 0
