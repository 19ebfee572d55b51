"""Distillation of single frames: a student's class probabilities approach those of a teacher, pixel by pixel.

Reference: Liu et al., ECCV 2020, section 3.2.
"""

import torch
from torch import Tensor
from torch.nn import functional

from segtrain.losses.logits import at_least_float32
from segtrain.models.network import upsample


def frame_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher | student): a sum over classes, a mean over pixels; a scalar, of which the teacher gets no gradient.

    student: logits [B,C,h,w], enlarged to the size of the teacher's. teacher: logits [B,C,H,W].

    Reference: single frame distillation. As published: a mean over classes too (`published_frame_loss`).
    """
    dtype = at_least_float32(torch.promote_types(student.dtype, teacher.dtype))
    found, wanted = (logits.log_softmax(1, dtype=dtype) for logits in (as_large_as(student, teacher), teacher.detach()))
    divergence = functional.kl_div(found, wanted, reduction="sum", log_target=True)
    return divergence / wanted[:, 0].numel()


def published_frame_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """As `frame_loss`, exactly as released: divided by the number of classes."""
    return frame_loss(student, teacher) / teacher.shape[1]


def as_large_as(student: Tensor, teacher: Tensor) -> Tensor:
    """What a student gives, [B,C,h,w], enlarged to the height and width of what its teacher gives, [B,D,H,W]."""
    size = teacher.shape[-2:]
    return student if student.shape[-2:] == size else upsample(student, size)
