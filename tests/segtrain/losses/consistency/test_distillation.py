"""Distillation of single frames."""

import math

import pytest
import torch
from torch import Tensor

from segtrain.losses.consistency.distillation import frame_loss, published_frame_loss
from segtrain.models.network import upsample


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_a_student_that_is_its_teacher_costs_nothing_to_the_bit() -> None:
    student = draw(2, 5, 3, 4)
    loss = frame_loss(student, student)
    assert loss == 0
    assert torch.autograd.grad(loss, student)[0].abs().max() < 1e-7
    assert frame_loss(student, student + 3) < 1e-6  # the same probabilities


def test_it_is_a_mean_over_pixels_and_as_published_over_classes_too() -> None:
    sure, unsure = torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    student, teacher = unsure.expand(2, 2, 4, 5), sure.expand(2, 2, 4, 5)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert frame_loss(student, teacher).item() == pytest.approx(expected)
    assert frame_loss(student[:1, :, :2], teacher[:1, :, :2]).item() == pytest.approx(expected)
    assert published_frame_loss(student, teacher).item() == pytest.approx(expected / 2)


def test_the_student_is_enlarged_and_the_teacher_gets_no_gradient() -> None:
    student, teacher = draw(1, 3, 2, 3), draw(1, 3, 4, 7, seed=1)
    loss = frame_loss(student, teacher)
    torch.testing.assert_close(loss, frame_loss(upsample(student, (4, 7)), teacher))
    to_student, to_teacher = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    assert to_student.any()
    assert to_teacher is None


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = (draw(1, 3, 2, 3, seed=seed).detach().bfloat16() for seed in (0, 1))
    assert torch.equal(frame_loss(student, teacher), frame_loss(student.float(), teacher.float()))


def test_classes_that_are_impossible_to_one_of_both_are_no_hazard() -> None:
    student, teacher = torch.tensor([0.0, 1e4]).view(1, 2, 1, 1), torch.tensor([0.0, -1e4]).view(1, 2, 1, 1)
    assert frame_loss(student.requires_grad_(), teacher).item() == pytest.approx(1e4)
