"""Pair-wise distillation and self-similarity: what they are of whole maps, what must hold, and that no map is made."""

from collections.abc import Sequence

import pytest
import torch
from helpers.measured import LargestTensor, kept_for_backward
from torch import Tensor
from torch.nn import functional

from segtrain.losses.consistency.pairs import pair_loss, published_pair_loss, similarity_map
from segtrain.losses.consistency.similarity import published_similarity_loss, similarity_loss
from segtrain.models.network import upsample

FEW, MANY = 3, 40  # channels: fewer and more than a quarter of the places


def draw(*shapes: Sequence[int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def naive(student_a: Tensor, student_b: Tensor, teacher_a: Tensor, teacher_b: Tensor) -> Tensor:
    size = teacher_a.shape[-2:]
    of_student = similarity_map(upsample(student_a, size), upsample(student_b, size))
    return functional.mse_loss(of_student, similarity_map(teacher_a, teacher_b).detach())


@pytest.mark.parametrize("channels", [FEW, MANY])
@pytest.mark.parametrize("rows", [1, 16, 1000])
@pytest.mark.parametrize("size", [(6, 9), (4, 5)])
def test_it_is_the_mean_over_whole_maps_and_so_are_its_gradients(
    channels: int, rows: int, size: tuple[int, int]
) -> None:
    student, teacher = [2, channels, *size], [2, channels + 1, 6, 9]
    frames = draw(student, student, teacher, teacher)
    found, expected = pair_loss(*frames, rows=rows), naive(*frames)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, frames[:2]), torch.autograd.grad(expected, frames[:2]))


@pytest.mark.parametrize("channels", [FEW, MANY])
def test_a_student_that_is_its_teacher_costs_nothing(channels: int) -> None:
    a, b = draw([2, channels, 6, 9], [2, channels, 6, 9])
    loss = pair_loss(a, b, a, b)
    assert loss.item() < 1e-12
    assert max(each.abs().max() for each in torch.autograd.grad(loss, (a, b))) < 1e-12
    assert similarity_loss(a, a).item() < 1e-12


@pytest.mark.parametrize("channels", [FEW, MANY])
def test_frames_may_be_swapped(channels: int) -> None:
    student_a, student_b, teacher_a, teacher_b = draw(*[[2, channels, 6, 9]] * 4)
    found = pair_loss(student_a, student_b, teacher_a, teacher_b)
    torch.testing.assert_close(pair_loss(student_b, student_a, teacher_b, teacher_a), found)
    published = published_pair_loss(student_a, student_b, teacher_a, teacher_b)
    torch.testing.assert_close(published_pair_loss(student_b, student_a, teacher_b, teacher_a), published)


@pytest.mark.parametrize("channels", [FEW, MANY])
def test_places_where_all_is_0_are_like_no_other_and_as_published_not_a_number(channels: int) -> None:
    student_a, student_b, teacher_a, teacher_b = draw(*[[1, channels, 6, 9]] * 4)
    with torch.no_grad():
        student_a[..., 2, 3] = 0
        teacher_b[..., 0, 0] = 0
    loss = pair_loss(student_a, student_b, teacher_a, teacher_b)
    torch.testing.assert_close(loss, naive(student_a, student_b, teacher_a, teacher_b))
    to_a, to_b = torch.autograd.grad(loss, (student_a, student_b))
    assert not to_a[..., 2, 3].any()
    assert max(to_a.abs().max(), to_b.abs().max()) < 1
    assert published_pair_loss(student_a, student_b, teacher_a, teacher_b).isnan()


@pytest.mark.parametrize("channels", [FEW, MANY])
def test_the_teacher_gets_no_gradient(channels: int) -> None:
    student, teacher = draw([1, channels, 6, 9], [1, channels, 6, 9])
    for loss in (pair_loss(student, student, teacher, teacher), similarity_loss(student, teacher)):
        assert torch.autograd.grad(loss, (student, teacher), allow_unused=True)[1] is None


@pytest.mark.parametrize("channels", [FEW, MANY])
def test_half_precision_is_computed_in_float32_at_least(channels: int) -> None:
    frames = [each.detach().bfloat16() for each in draw(*[[1, channels, 6, 9]] * 4)]
    found = pair_loss(frames[0].requires_grad_(), *frames[1:])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), naive(*(each.double() for each in frames)), atol=1e-7, rtol=1e-5)
    assert torch.autograd.grad(found, frames[0])[0].dtype == torch.bfloat16


@pytest.mark.parametrize(("channels", "rows"), [(5, 10_000), (150, 8)])  # of few channels there are no rows at all
def test_a_whole_map_is_never_there(channels: int, rows: int) -> None:
    places = 24 * 24
    frames = draw(*[[2, channels, 24, 24]] * 4)
    with LargestTensor() as largest:
        loss, kept = kept_for_backward(lambda: pair_loss(*frames, rows=rows))
        loss.backward()
    inputs = sum(each.numel() for each in frames)
    assert kept < 3 * inputs  # directions and lengths
    assert largest.num_elements == frames[0].numel() < places * places


def test_rows_are_counted_from_1() -> None:
    with pytest.raises(ValueError, match="rows must be 1 or more, found 0"):
        pair_loss(*draw(*[[1, 2, 3, 3]] * 4), rows=0)


def test_self_similarity_is_that_of_means_whatever_the_channels() -> None:
    student, teacher = draw([2, 5, 7, 9], [2, 8, 7, 9])
    means = [functional.avg_pool2d(each, 3, 3) for each in (student, teacher)]
    expected = functional.mse_loss(*(similarity_map(each, each) for each in means))
    torch.testing.assert_close(similarity_loss(student, teacher, pool=3), expected)
    torch.testing.assert_close(similarity_loss(student, teacher), published_similarity_loss(student, teacher))
    overlapping = published_similarity_loss(student, teacher, pool=3)  # 3x4 places, not 2x3
    assert overlapping.item() != pytest.approx(expected.item(), rel=1e-3)


def test_self_similarity_of_few_places_and_of_nothing() -> None:
    student, teacher = draw([1, 5, 1, 3], [1, 8, 1, 3])
    assert similarity_loss(student, teacher, pool=2).item() == pytest.approx(0, abs=1e-12)  # one place
    with torch.no_grad():
        student.zero_()
    loss = similarity_loss(student, teacher, pool=1)
    assert loss.item() > 0
    assert not torch.autograd.grad(loss, student)[0].any()
    with pytest.raises(ValueError, match="pool must be 1 or more places, found 0"):
        similarity_loss(student, teacher, pool=0)
