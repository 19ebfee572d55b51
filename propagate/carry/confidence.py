"""How sure we are of every propagated pixel: bounds, forward-backward consistency, photometric agreement."""

import cv2
import numpy as np
import torch
from torch import Tensor

from propagate.carry.walk import Displacement
from sdcnet.geometry import inside, length, round_trip, warp_frames
from sdcnet.motion.classical import to_grey

# The odds that a pixel is wrong: ODDS · (1 + photometric / LEVELS)^PHOTOMETRIC_POWER · (1 + trip)^TRIP_POWER, rounded
# from a logistic regression on synthetic streets and on Cityscapes frames that another network had labelled.
ODDS = 0.01
PHOTOMETRIC_LEVELS = 4.0  # grey levels
PHOTOMETRIC_POWER = 2.0
TRIP_POWER = 0.35
TRIP_TOLERANCE = 0.05  # pixels per pixel of displacement, beyond one pixel
DRIFT_WINDOW = 31  # pixels, the side of the window whose mean difference counts as change of brightness
MATCH_WINDOW = 7  # pixels, the side of the window over which the rest is averaged


def confidence(displacement: Displacement, target_frame: Tensor, annotated_frame: Tensor) -> Tensor:
    """How probably each pixel of the target frame received the right label: [1,1,H,W] float32 in [0,1].

    Frames are [1,3,H,W] uint8 RGB. It falls as the frames differ under the displacement and as a pixel that goes to
    the annotated frame and back misses its start; a pixel that comes from outside the frame has confidence 0. What
    occlusion means is decided here and nowhere else: a pixel that the annotated frame does not show is given a label
    like any other, and a low confidence.

    Reference: the forward-backward check of Sundaram et al., ECCV 2010, with a tolerance that grows with the
    displacement; here it is a soft score of the distance, not of its square.
    """
    flow = displacement.flow
    tolerance = 1 + TRIP_TOLERANCE * length(flow)
    trip = round_trip(flow, displacement.reverse) / tolerance
    photometric = photometric_difference(target_frame, annotated_frame, flow) / PHOTOMETRIC_LEVELS
    odds = ODDS * (1 + photometric) ** PHOTOMETRIC_POWER * (1 + trip) ** TRIP_POWER
    return inside(flow) / (1 + odds)


def photometric_difference(target_frame: Tensor, annotated_frame: Tensor, flow: Tensor) -> Tensor:
    """The mean absolute difference of the target and the warped annotated frame around each pixel.

    Frames are [1,3,H,W] uint8 RGB, flow_target_to_annotated [1,2,H,W]; returns [1,1,H,W] float32 grey levels. The
    mean of the difference over a larger window is taken out first: light that drifts is no mismatch.
    """
    annotated = torch.from_numpy(to_grey(annotated_frame)).float()[None, None]
    difference = to_grey(target_frame) - warp_frames(annotated, flow)[0, 0].numpy()
    rest = np.abs(difference - _window_mean(difference, DRIFT_WINDOW))
    return torch.from_numpy(_window_mean(rest, MATCH_WINDOW))[None, None]


def _window_mean(image: np.ndarray, side: int) -> np.ndarray:
    """[H,W] float32 -> the mean over the side x side pixels around each; the image is mirrored at its border."""
    return cv2.blur(image, (side, side))
