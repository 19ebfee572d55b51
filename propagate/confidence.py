"""How sure we are of every propagated pixel: bounds, forward-backward consistency, photometric agreement."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from propagate.displacement import Displacement
from sdcnet.geometry import inside, round_trip, warp_frames

ROUND_TRIP_SCALE = 1.0  # pixels; a round trip that misses by this much halves the confidence
RELATIVE_SCALE = 0.02  # pixels of tolerance per pixel of displacement, beyond ROUND_TRIP_SCALE
PHOTOMETRIC_SCALE = 12.0  # grey levels
WINDOW = 15  # pixels, the side of the window whose mean is taken out before grey levels are compared


def confidence(displacement: Displacement, target_frame: Tensor, annotated_frame: Tensor) -> Tensor:
    """The confidence in what was carried to the target frame: [1,1,H,W] float32 in [0,1].

    Frames are [1,3,H,W] uint8 RGB. A pixel that comes from outside the frame has confidence 0.

    Reference: the forward-backward check of Sundaram et al., ECCV 2010, as a soft score with their tolerance,
    which grows with the length of the displacement.
    """
    flow = displacement.flow
    length = torch.linalg.vector_norm(flow, dim=1, keepdim=True)
    trip = round_trip(flow, displacement.reverse) / (ROUND_TRIP_SCALE + RELATIVE_SCALE * length)
    difference = photometric_difference(target_frame, annotated_frame, flow) / PHOTOMETRIC_SCALE
    return inside(flow) / (1 + trip.square() + difference.square())


def photometric_difference(target_frame: Tensor, annotated_frame: Tensor, flow: Tensor) -> Tensor:
    """How far the target and the warped annotated frame differ, without their local means: [1,1,H,W] levels."""
    warped = warp_frames(_grey(annotated_frame), flow)
    difference = _grey(target_frame) - warped
    mean = avg_pool2d(difference, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
    return avg_pool2d((difference - mean).abs(), 3, stride=1, padding=1, count_include_pad=False)


def _grey(frame: Tensor) -> Tensor:
    """[1,3,H,W] uint8 -> [1,1,H,W] float32, the mean of the three channels."""
    return frame.float().mean(dim=1, keepdim=True)
