"""How sure we are of every propagated pixel, and what speaks against it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from propagate.carry.paths import CarryingPath
from propagate.data.sample import COVERED, ENTERED, MATCHED, MISMATCH
from sdcnet.geometry import endpoints, inside, length, pixel_before, warp_frames

# The odds that a pixel is wrong: ODDS · (1 + difference / LEVELS)² · √(1 + rival) / (1 + boundary)^1.25, and six times
# that where it comes from outside the frame. Rounded from a logistic regression on synthetic streets and on Cityscapes
# frames that another network had labelled, whose own errors were allowed for.
ODDS = 0.033
DIFFERENCE_LEVELS = 4.0  # grey levels
OUTSIDE_FACTOR = 6.0
RIVAL_TOLERANCE = 0.05  # pixels per pixel of displacement, beyond one pixel
BOUNDARY_PARTS = 512  # of the frame's height, in which the distance from an outline counts
BOUNDARY_REACH = 16  # of these: farther from an outline a label is no surer
MISMATCH_LEVELS = 9.0  # grey levels, which make the odds ten times as high
COVERED_WINDOW = 15  # pixels, the side of the window in which most pixels have rivals
DRIFT_WINDOW = 31  # pixels, the side of the window whose mean difference counts as change of brightness
MATCH_WINDOW = 7  # pixels, the side of the window over which the rest is averaged
MISMATCH_STEPS = 256  # per grey level: finer differences do not decide who has the better claim
_SIDE_BITS = 20  # of a claim, for each coordinate of who makes it; his mismatch is above them
_SIDE_MASK = 2**_SIDE_BITS - 1
_NOBODY = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Match:
    """How well the pixels of the target frames match those that they come from: [N,1,H,W] each.

    difference: float32 grey levels, by which the frames differ around it under the displacement.
    rival: float32 pixels to the one that has the better claim to its place, beyond what a displacement of its length
        lets expect; 0 where there is none.
    is_inside: bool, whether it comes from within the annotated frame.
    """

    difference: Tensor
    rival: Tensor
    is_inside: Tensor


def match(flow_target_to_annotated: Tensor, target_frame: Tensor, annotated_frame: Tensor, path: CarryingPath) -> Match:
    """What the frames and the displacements say about each pixel.

    The flow is [N,2,H,W] float32 pixels, frames are [N,3,H,W] and [1,3,H,W] uint8 RGB.
    """
    flow = flow_target_to_annotated
    difference = photometric_difference(target_frame, annotated_frame, flow, path)
    is_inside = inside(flow)
    to_rival = rival_distance(flow, difference, is_inside)
    return Match(
        difference=difference,
        rival=(to_rival / (1 + RIVAL_TOLERANCE * length(flow)) - 1).clamp_(min=0),
        is_inside=is_inside,
    )


def to_outline(label: Tensor, path: CarryingPath) -> Tensor:
    """How far each pixel is from the nearest one at an outline of its label map: [N,1,H,W] float32.

    In BOUNDARY_PARTS of the frame's height, up to BOUNDARY_REACH. label: [N,1,H,W] uint8.
    """
    per_pixel = BOUNDARY_PARTS / label.shape[-2]
    reached = path.distance(outlines(label), math.ceil(BOUNDARY_REACH / per_pixel))
    return (reached * per_pixel).clamp_(max=BOUNDARY_REACH)


def confidence(found: Match, boundary: Tensor) -> Tensor:
    """How probably each pixel received the right label: [N,1,H,W] float32 in [0,1].

    It falls as the frames differ under the displacement, where another pixel has the better claim to the same place,
    towards the outlines of the label map (boundary: [N,1,H,W], as `to_outline` has it), and for what comes from outside
    the frame. What the annotated frame does not show is given a label like any other: most of these are right, since
    more of the same comes to be seen.
    """
    odds = ODDS * (1 + found.difference / DIFFERENCE_LEVELS).square() * (1 + found.rival).sqrt()
    within = 1 + boundary
    odds /= within * within.sqrt().sqrt()  # roots are exact: equal evidence has equal odds, wherever it is computed
    return 1 / (1 + odds.where(found.is_inside, OUTSIDE_FACTOR * odds))


def reasons(found: Match, path: CarryingPath) -> Tensor:
    """What speaks against each pixel, by its place in `REASONS`: [N,1,H,W] uint8.

    What comes from outside the frame has entered; else it is covered, where most pixels around it have rivals; else
    it is a mismatch, where the frames differ by more than MISMATCH_LEVELS. The label does not count: far from an
    outline, one of a pixel that has a reason may be sure.
    """
    is_covered = path.window_mean((found.rival > 0).float(), COVERED_WINDOW) > 0.5
    reason = torch.full_like(found.is_inside, MATCHED, dtype=torch.uint8)
    reason.masked_fill_(found.difference > MISMATCH_LEVELS, MISMATCH)
    return reason.masked_fill_(is_covered, COVERED).masked_fill_(~found.is_inside, ENTERED)


def outlines(label: Tensor) -> Tensor:
    """Which pixels of label maps [N,1,H,W] have another label to a side, above or below them: bool."""
    found = torch.zeros_like(label, dtype=torch.bool)
    across, down = label[..., 1:] != label[..., :-1], label[..., 1:, :] != label[..., :-1, :]
    found[..., 1:] |= across
    found[..., :-1] |= across
    found[..., 1:, :] |= down
    found[..., :-1, :] |= down
    return found


def rival_distance(flow_target_to_annotated: Tensor, mismatch: Tensor, points_inside: Tensor) -> Tensor:
    """How far each pixel is from the one that has the best claim to the place where both point: [N,1,H,W] pixels.

    Of the pixels that point to the same pixel of the annotated frame, that has the best claim which matches it best, by
    its `mismatch` [N,1,H,W] grey levels: its distance is 0, and so is that of a pixel that points outside the frame.
    flow: [N,2,H,W] float32 pixels.

    Reference: the mapping uniqueness of Xu et al., "Motion Detail Preserving Optical Flow Estimation", TPAMI 2012;
    here with the distance, so that the neighbours that share a place where things come nearer are no rivals.
    """
    height, width = flow_target_to_annotated.shape[-2:]
    x, y = pixel_before(endpoints(flow_target_to_annotated).add_(0.5)).unbind(1)
    place = (y.clamp_(0, height - 1).int() * width + x.clamp_(0, width - 1).int()).flatten(1).long()
    rows, columns = (torch.arange(side, device=place.device) for side in (height, width))
    own = (rows[:, None] << _SIDE_BITS) + columns
    claims = ((mismatch[:, 0] * MISMATCH_STEPS).long() << 2 * _SIDE_BITS).add_(own)
    claims = claims.where(points_inside[:, 0], _NOBODY).flatten(1)
    best = torch.full_like(claims, _NOBODY).scatter_reduce_(1, place, claims, "amin")
    winner = best.gather(1, place).view_as(x)
    dx = (winner & _SIDE_MASK) - (own & _SIDE_MASK)
    dy = (winner >> _SIDE_BITS & _SIDE_MASK) - (own >> _SIDE_BITS)
    return torch.hypot(dx.float(), dy.float()).unsqueeze(1) * points_inside


def photometric_difference(target_frame: Tensor, annotated_frame: Tensor, flow: Tensor, path: CarryingPath) -> Tensor:
    """The mean absolute difference of the target and the warped annotated frame around each pixel.

    Frames are [N,3,H,W] and [1,3,H,W] uint8 RGB, flow_target_to_annotated [N,2,H,W]; returns [N,1,H,W] float32 grey
    levels. The mean of the difference over a larger window is taken out first: light that drifts is no mismatch.
    """
    annotated = path.grey(annotated_frame).expand(len(flow), -1, -1, -1)
    difference = path.grey(target_frame) - warp_frames(annotated, flow)
    return path.window_mean((difference - path.window_mean(difference, DRIFT_WINDOW)).abs_(), MATCH_WINDOW)
