"""How likely it is that a pixel is of one of a set of classes."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from segtrain.losses.class_sets import RelaxedTarget, per_set
from segtrain.losses.logits import at_least_float32

BAND_LOGITS = 1 << 19  # worked on at a time on a CPU: what a band needs stays in the cache, a quarter of the time


def set_negative_log_likelihood(logits: Tensor, target: RelaxedTarget) -> Tensor:
    """−log Σ P(c) over the classes of each pixel's set -> [B,H,W] float32 or float64; 0 where it has none.

    logsumexp over all less logsumexp over the set, in float32 at least: right at any gap of logits. Nothing of their
    size is kept beside them; backward makes their gradient.
    """
    result: Tensor = _SetNegativeLogLikelihood.apply(logits, target)
    return result


class _SetNegativeLogLikelihood(torch.autograd.Function):
    """Plain cross entropy everywhere; then, for the few pixels that have a set, the class gives way to the set.

    The gradient by logit c is P(c) − P(c | N), with P(c | N) = 0 outside the set N.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: RelaxedTarget) -> Tensor:
        classes = target.classes
        nll = torch.empty(classes.shape, dtype=at_least_float32(logits.dtype), device=logits.device)
        for band in _bands(logits):
            precise = logits[..., band, :].to(nll.dtype)
            nll[:, band] = F.cross_entropy(precise, classes[:, band], ignore_index=logits.shape[1], reduction="none")
        of_members = logits.take(_logits_of_members(logits, target)).to(nll.dtype)
        of_first = of_members.take(target.num_members.cumsum(dim=0) - target.num_members)
        most = per_set("max", of_members, target)
        among = of_members.sub_(most.take(target.row)).exp_()
        total = per_set("sum", among, target)
        nll.put_(target.pixel, of_first - most - total.log(), accumulate=True)
        ctx.save_for_backward(logits, among.div_(total.take(target.row)), *target)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nll: Tensor) -> tuple[Tensor, None]:
        logits, among, *fields = ctx.saved_tensors
        target = RelaxedTarget(*fields)
        ignored = target.classes == logits.shape[1]
        index = target.classes.masked_fill(ignored, 0)[:, None]
        to_all = grad_nll.masked_fill(ignored, 0)[:, None]
        to_class = to_all.flatten().index_fill(0, target.pixel, 0).view_as(to_all)
        grad = torch.empty_like(logits)
        for band in _bands(logits):
            part = logits[..., band, :].softmax(dim=1, dtype=grad_nll.dtype).mul_(to_all[..., band, :])
            grad[..., band, :] = part.scatter_add_(1, index[..., band, :], -to_class[..., band, :])
        to_members = among * grad_nll.take(target.pixel).take(target.row)
        grad.put_(_logits_of_members(logits, target), -to_members.to(grad.dtype), accumulate=True)
        return grad, None


def _logits_of_members(logits: Tensor, target: RelaxedTarget) -> Tensor:
    """Where the logits of each set's classes are in [B,C,H,W], flattened: [P] int64."""
    num_pixels = logits[0, 0].numel()
    of_class_0 = target.pixel + target.image * ((logits.shape[1] - 1) * num_pixels)
    return of_class_0.take(target.row) + target.member * num_pixels


def _bands(logits: Tensor) -> list[slice]:
    """Bands of rows, of all images together; on a GPU one of all rows."""
    height = logits.shape[2]
    rows = max(1, BAND_LOGITS * height // logits.numel()) if logits.is_cpu else height
    return [slice(top, top + rows) for top in range(0, height, rows)]
