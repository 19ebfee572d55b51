"""The temporal loss: what a frame shows has the same classes where a neighbour shows it too.

Reference: Liu et al., ECCV 2020, section 3.1.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sdcnet.geometry import BAND_ROWS, endpoints, sample_bilinear, warp_frames, warp_frames_adjoint
from segtrain.losses.logits import at_least_float32


@torch.no_grad()
def visibility(image: Tensor, neighbour: Tensor, flow: Tensor, *, over: Literal["mean", "sum"] = "mean") -> Tensor:
    """How surely the neighbour shows what the frame does at each pixel, exp(-|image - warped neighbour|): [B,1,H,W].

    It lies in (0,1], is 1 exactly where they agree, and has no gradient.

    image, neighbour: [B,3,H,W] as `preprocessing.normalised` gives them. flow: [B,2,H,W] pixels, from the frame to the
    neighbour, on the frame's grid. over: how the differences of the colours become one, which the paper leaves open.

    Raises: ValueError for another `over`. As published: the absolute value of the colours' summed differences, where
    opposite ones cancel (`published_visibility`).
    """
    if over not in ("mean", "sum"):
        raise ValueError(f"over is mean or sum, found {over!r}")
    difference = _difference(image, neighbour, flow).abs_()
    of_colours = difference.mean(1, keepdim=True) if over == "mean" else difference.sum(1, keepdim=True)
    return of_colours.neg_().exp_()


@torch.no_grad()
def published_visibility(image: Tensor, neighbour: Tensor, flow: Tensor) -> Tensor:
    """As `visibility`, exactly as released: exp(-|Σ(image - warped neighbour)|), over the colours."""
    return _difference(image, neighbour, flow).sum(1, keepdim=True).abs_().neg_().exp_()


def _difference(image: Tensor, neighbour: Tensor, flow: Tensor) -> Tensor:
    dtype = at_least_float32(image.dtype)
    return image.to(dtype) - warp_frames(neighbour.to(dtype), flow.to(dtype))


def temporal_loss(logits: Tensor, neighbour: Tensor, flow: Tensor, visibility: Tensor, seen: Tensor) -> Tensor:
    """The visibility times the squared distance of class probabilities, a mean over the pixels of `seen`; a scalar.

    The gradient goes into both predictions, unless the caller detaches one. Nothing of their size is kept beside them,
    and while it is computed there are two copies of one image's probabilities at most.

    logits: [B,C,H,W] of the frame; neighbour: the same of the neighbour, on its own grid. flow: [B,2,H,W] pixels, from
    the frame to the neighbour. visibility: [B,1,H,W]. seen: [B,H,W] bool; what flow and visibility are elsewhere does
    not matter. Where it holds no pixel, the loss is 0.

    Reference: equation 1. As published: logits in place of probabilities, the visibility squared, a mean over classes
    too, and all pixels counted, padded ones and those that the flow leads out of the frame (`published_temporal_loss`).
    """
    dtype = at_least_float32(torch.promote_types(logits.dtype, neighbour.dtype))
    weight = visibility[:, 0].to(dtype).where(seen, 0) / seen.sum().clamp(min=1)
    flow = flow.to(at_least_float32(flow.dtype)).where(seen[:, None], 0)
    loss: Tensor = _WeightedSquares.apply(logits, neighbour, flow.detach(), weight.detach())
    return loss


def published_temporal_loss(logits: Tensor, neighbour: Tensor, flow: Tensor, visibility: Tensor) -> Tensor:
    """As `temporal_loss`, exactly as released: the mean of (V·logits - V·warped logits)² over all elements."""
    return (visibility * logits - visibility * warp_frames(neighbour, flow)).square().mean()


class _Band(NamedTuple):
    """Rows of an image, with the class probabilities [1,C,h,W] there, and what they are more than the neighbour's."""

    rows: slice
    probabilities: Tensor
    difference: Tensor


def _bands(logits: Tensor, of_neighbour: Tensor, flow: Tensor) -> Iterator[_Band]:
    """Of one image, [1,C,H,W] each; on a GPU a band is the image."""
    points = endpoints(flow)
    height = logits.shape[2]
    size = BAND_ROWS if logits.is_cpu else height
    for top in range(0, height, size):
        rows = slice(top, min(top + size, height))
        probabilities = logits[:, :, rows].softmax(1, dtype=of_neighbour.dtype)
        yield _Band(rows, probabilities, probabilities - sample_bilinear(of_neighbour, points[:, :, rows]))


class _WeightedSquares(torch.autograd.Function):
    """Σ w |p - q'|² of softmax probabilities p, and q warped; image by image, and made anew on the way back."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, neighbour: Tensor, flow: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(logits, neighbour, flow, weight)
        total = weight.new_zeros(())
        for each, moved, of_pixel in _images(logits, flow, weight):
            of_neighbour = neighbour[each].softmax(1, dtype=weight.dtype)
            for rows, _, difference in _bands(logits[each], of_neighbour, moved):
                total += difference.square_().sum(1).mul_(of_pixel[:, rows]).sum()
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        logits, neighbour, flow, weight = ctx.saved_tensors
        to_logits, to_neighbour, *_ = (
            torch.empty_like(tensor) if needed else None
            for tensor, needed in zip((logits, neighbour), ctx.needs_input_grad, strict=False)
        )
        for each, moved, of_pixel in _images(logits, flow, 2 * grad * weight):
            of_neighbour = neighbour[each].softmax(1, dtype=weight.dtype)
            to_warped = torch.empty_like(of_neighbour) if to_neighbour is not None else None
            for rows, probabilities, difference in _bands(logits[each], of_neighbour, moved):
                gradient = difference.mul_(of_pixel[:, None, rows])
                if to_warped is not None:
                    torch.neg(gradient, out=to_warped[:, :, rows])
                if to_logits is not None:
                    to_logits[each][:, :, rows] = _through_softmax(gradient, probabilities)
            if to_warped is not None and to_neighbour is not None:
                to_warped = warp_frames_adjoint(to_warped, moved)
                to_neighbour[each] = _through_softmax(to_warped, of_neighbour)
        return to_logits, to_neighbour, None, None


def _images(logits: Tensor, flow: Tensor, weight: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """For each image its place in the batch, its flow [1,2,H,W] and the weights of its pixels [1,H,W]."""
    for number in range(len(logits)):
        each = slice(number, number + 1)
        yield each, flow[each], weight[each]


def _through_softmax(gradient: Tensor, probabilities: Tensor) -> Tensor:
    """From a gradient by probabilities [1,C,H,W], which is written over, to that by their logits."""
    along = (gradient * probabilities).sum(1, keepdim=True)
    return gradient.sub_(along).mul_(probabilities)
