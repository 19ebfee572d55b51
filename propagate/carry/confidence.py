"""How sure we are of every propagated pixel: bounds, uniqueness, photometric agreement."""

import torch
from torch import Tensor

from propagate.carry.paths import CarryingPath
from sdcnet.geometry import endpoints, inside, length, pixel_before, warp_frames

# The odds that a pixel is wrong: ODDS · (1 + photometric / LEVELS)^PHOTOMETRIC_POWER · (1 + rival)^RIVAL_POWER, rounded
# from a logistic regression on synthetic streets and on Cityscapes frames that another network had labelled.
ODDS = 0.01
PHOTOMETRIC_LEVELS = 4.0  # grey levels
PHOTOMETRIC_POWER = 2.0
RIVAL_POWER = 0.35
RIVAL_TOLERANCE = 0.05  # pixels per pixel of displacement, beyond one pixel
DRIFT_WINDOW = 31  # pixels, the side of the window whose mean difference counts as change of brightness
MATCH_WINDOW = 7  # pixels, the side of the window over which the rest is averaged
MISMATCH_STEPS = 256  # per grey level: finer differences do not decide who has the better claim
_SIDE_BITS = 20  # of a claim, for each coordinate of who makes it; his mismatch is above them
_SIDE_MASK = 2**_SIDE_BITS - 1
_NOBODY = torch.iinfo(torch.int64).max


def confidence(
    flow_target_to_annotated: Tensor, target_frame: Tensor, annotated_frame: Tensor, path: CarryingPath
) -> Tensor:
    """How probably each pixel of the target frames received the right label: [N,1,H,W] float32 in [0,1].

    The flow is [N,2,H,W] float32 pixels, frames are [N,3,H,W] and [1,3,H,W] uint8 RGB. It falls as the frames differ
    under the displacement and where another pixel has the better claim to the same place; a pixel that comes from
    outside the frame has confidence 0. What occlusion means is decided here and nowhere else: a pixel that the
    annotated frame does not show is given a label like any other, and a low confidence.
    """
    flow = flow_target_to_annotated
    difference = photometric_difference(target_frame, annotated_frame, flow, path)
    is_inside = inside(flow)
    rival = (rival_distance(flow, difference, is_inside) / (1 + RIVAL_TOLERANCE * length(flow)) - 1).clamp_(min=0)
    odds = ODDS * (1 + difference / PHOTOMETRIC_LEVELS) ** PHOTOMETRIC_POWER * (1 + rival) ** RIVAL_POWER
    return is_inside / (1 + odds)


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
