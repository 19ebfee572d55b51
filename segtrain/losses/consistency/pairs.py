"""Pair-wise distillation: how alike the places of two frames are, for a student as for its teacher.

Reference: Liu et al., ECCV 2020, section 3.2.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segtrain.losses.consistency.distillation import as_large_as
from segtrain.losses.logits import at_least_float32

EPSILON = 1e-12  # the length up to which a place counts as 0: like no other, without a gradient
ROWS = 1024  # of a map, at a time: those of 9,409 places, of a crop of 769, take 39 MB


def pair_loss(
    student_a: Tensor, student_b: Tensor, teacher_a: Tensor, teacher_b: Tensor, *, rows: int = ROWS
) -> Tensor:
    """The mean squared difference of the student's and the teacher's map of two frames a and b; a scalar.

    A map holds the cosine of every place of a with every place of b, and is never there as a whole: where there are
    few channels, what is asked of it follows from products of channels; elsewhere `rows` of its rows are computed at a
    time, and once more for the gradient. The teacher gets no gradient.

    student_a, student_b: logits or features [B,C,h,w], enlarged to the size of the teacher's. teacher_a, teacher_b: the
    same [B,D,H,W] of the teacher, of any number of channels.

    Raises: ValueError for `rows` below 1. Reference: pair-wise frames dependency. As published: the lengths of the
    two places are taken from the other frame, so that a map holds no cosines (`published_pair_loss`).
    """
    if rows < 1:
        raise ValueError(f"rows must be 1 or more, found {rows}")
    student = [directions(as_large_as(*each)) for each in ((student_a, teacher_a), (student_b, teacher_b))]
    teacher = [directions(each.detach()) for each in (teacher_a, teacher_b)]
    channels = student[0].shape[1] + teacher[0].shape[1]
    num_cosines = sum(first.shape[2] * second.shape[2] * len(first) for first, second in [teacher])
    if 4 * channels < min(places.shape[2] for places in teacher):  # 4: products in float64 take twice the time
        return _by_channels(*student, *teacher) / num_cosines
    squares: Tensor = _SquaredDifference.apply(*student, *teacher, rows)
    return squares / num_cosines


def similarity_map(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of every place of a [B,C,H,W] with every place of b: [B,N,M], N and M places row by row."""
    return directions(a).mT @ directions(b)


def directions(features: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,C,N], each place of length 1, or 0 where all is 0; in float32 at least."""
    places = features.to(at_least_float32(features.dtype)).flatten(2)
    length = places.norm(dim=1, keepdim=True)
    return places / length.where(length > EPSILON, torch.inf)


def _by_channels(student_a: Tensor, student_b: Tensor, teacher_a: Tensor, teacher_b: Tensor) -> Tensor:
    """Σ (sᵢ·s'ⱼ - tᵢ·t'ⱼ)², by what of it are products of channels: Σ (sᵢ·s'ⱼ)(tᵢ·t'ⱼ) = Σ (S Tᵀ)·(S' T'ᵀ).

    In float64, since it is a small difference of large sums.
    """
    dtype = student_a.dtype
    student_a, student_b, teacher_a, teacher_b = (
        places.double() for places in (student_a, student_b, teacher_a, teacher_b)
    )
    of_student = (student_a @ student_a.mT) * (student_b @ student_b.mT)
    of_both = (student_a @ teacher_a.mT) * (student_b @ teacher_b.mT)
    of_teacher = (teacher_a @ teacher_a.mT) * (teacher_b @ teacher_b.mT)
    return (of_student.sum() - 2 * of_both.sum() + of_teacher.sum()).clamp(min=0).to(dtype)


class _SquaredDifference(torch.autograd.Function):
    """Σ (sᵢ·s'ⱼ - tᵢ·t'ⱼ)² of directions [B,C,N], some rows of one image at a time, made anew on the way back."""

    @staticmethod
    def forward(
        ctx: Any, student_a: Tensor, student_b: Tensor, teacher_a: Tensor, teacher_b: Tensor, rows: int
    ) -> Tensor:
        ctx.save_for_backward(student_a, student_b, teacher_a, teacher_b)
        ctx.rows = rows
        total = student_a.new_zeros((), dtype=torch.float64)
        for image in range(len(student_a)):
            for block in _blocks(student_a, rows):
                total += _rows_of(image, block, student_a, student_b, teacher_a, teacher_b).square_().sum()
        return total.to(student_a.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        student_a, student_b, teacher_a, teacher_b = ctx.saved_tensors
        to_a, to_b = torch.empty_like(student_a), torch.zeros_like(student_b)
        for image in range(len(student_a)):
            for block in _blocks(student_a, ctx.rows):
                difference = _rows_of(image, block, student_a, student_b, teacher_a, teacher_b)
                to_a[image, :, block] = student_b[image] @ difference.mT
                to_b[image].addmm_(student_a[image, :, block], difference)
        return to_a.mul_(2 * grad), to_b.mul_(2 * grad), None, None, None


def _blocks(places: Tensor, rows: int) -> list[slice]:
    return [slice(first, first + rows) for first in range(0, places.shape[2], rows)]


def _rows_of(
    image: int, block: slice, student_a: Tensor, student_b: Tensor, teacher_a: Tensor, teacher_b: Tensor
) -> Tensor:
    """Some rows of what the student's map is more than the teacher's: [rows,M]."""
    of_student = student_a[image, :, block].mT @ student_b[image]
    return of_student.addmm_(teacher_a[image, :, block].mT, teacher_b[image], alpha=-1)


def published_pair_loss(student_a: Tensor, student_b: Tensor, teacher_a: Tensor, teacher_b: Tensor) -> Tensor:
    """As `pair_loss`, exactly as released, of whole maps: frames of one size, NaN where a place is all 0."""
    of_student, of_teacher = published_map(student_a, student_b), published_map(teacher_a, teacher_b).detach()
    return (of_student - of_teacher).square().mean()


def published_map(a: Tensor, b: Tensor) -> Tensor:
    """As `similarity_map`, exactly as released: aᵢ·bⱼ / (|bᵢ| |aⱼ|), which may exceed 1."""
    first, second = (features.to(at_least_float32(features.dtype)).flatten(2) for features in (a, b))
    return (first.mT @ second) / (second.norm(dim=1)[:, :, None] * first.norm(dim=1)[:, None, :])
