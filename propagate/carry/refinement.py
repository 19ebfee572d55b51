"""Composed displacements, corrected on the images that they connect.

Composing adds up the errors of its steps, and every estimator blurs motion across the outlines of things. Both show
in the images: here each pixel chooses, among a few displacements, the one under which the two frames look most alike.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from torch import Tensor

from sdcnet.motion.classical import dis_correction, to_flow, to_grey, to_pixels

REACHES = (32, 16, 8, 4)  # pixels, how far away a neighbour's displacement is taken from
NEIGHBOUR_MARGIN = 4.0  # grey levels, summed over channels, by which it must match better
LARGEST_DIFFERENCE = 80.0  # grey levels, summed over channels: a worse match, or none, is no worse than this
WINDOW = 5  # pixels, the side of the Gaussian window over which differences are averaged


def refine(flow_target_to_annotated: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """The displacement that matches the images best, pixel by pixel: [1,2,H,W] float32.

    flow_target_to_annotated: [1,2,H,W] float32 pixels; frames: [1,3,H,W] uint8 RGB. The candidates are the given
    displacement, what DIS makes of it between the two frames themselves, and, for the winner of these, the
    displacements of neighbours, so that an edge of the motion can move to where the images have it.

    Reference: the neighbours are PatchMatch's propagation, Barnes et al., SIGGRAPH 2009, with fixed reaches.
    """
    composed = np.ascontiguousarray(flow_target_to_annotated[0].permute(1, 2, 0).numpy())
    match = _Match(to_pixels(target), to_pixels(annotated))
    chosen = dis_correction(to_grey(target), to_grey(annotated), composed)
    lowest = match.cost(chosen)
    _choose(chosen, lowest, composed, match.cost(composed))
    lowest -= NEIGHBOUR_MARGIN
    for reach in REACHES:
        for candidate in _neighbours(chosen, reach):
            _choose(chosen, lowest, candidate, match.cost(candidate))
    return to_flow(chosen)


class _Match:
    """How badly two frames match under a displacement from the one (target) into the other."""

    def __init__(self, target: np.ndarray, annotated: np.ndarray) -> None:
        height, width = target.shape[:2]
        self._target, self._annotated = target, annotated
        self._columns = np.arange(width, dtype=np.float32)
        self._rows = np.arange(height, dtype=np.float32)[:, None]

    def cost(self, flow: np.ndarray) -> np.ndarray:
        """flow [H,W,2] -> [H,W] float32: mean absolute difference around each pixel, in summed grey levels."""
        height, width = flow.shape[:2]
        x, y = flow[..., 0] + self._columns, flow[..., 1] + self._rows
        warped = cv2.remap(self._annotated, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = cv2.transform(cv2.absdiff(self._target, warped), np.ones((1, 3), np.float32))
        difference = np.minimum(difference, LARGEST_DIFFERENCE, dtype=np.float32)
        difference[(x < -0.5) | (x >= width - 0.5) | (y < -0.5) | (y >= height - 0.5)] = 2 * LARGEST_DIFFERENCE
        return cv2.GaussianBlur(difference, (WINDOW, WINDOW), 0)


def _neighbours(flow: np.ndarray, reach: int) -> Iterator[np.ndarray]:
    """The displacements [H,W,2] `reach` pixels to the right, left, below and above; the border's beyond it."""
    height, width = flow.shape[:2]
    padded = cv2.copyMakeBorder(flow, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    for dx, dy in ((reach, 0), (-reach, 0), (0, reach), (0, -reach)):
        yield padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]


def _choose(chosen: np.ndarray, lowest: np.ndarray, candidate: np.ndarray, cost: np.ndarray) -> None:
    """Put the candidate [H,W,2], and its cost [H,W], where it is cheaper. Works in place."""
    better = cost < lowest
    np.copyto(lowest, cost, where=better)
    np.copyto(chosen, candidate, where=better[..., None])
