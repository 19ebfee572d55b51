"""Which of several displacements makes two frames look most alike, pixel by pixel; on the host, and on a device.

How badly the frames match is a whole number of grey levels, so that both choose the same.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sdcnet.geometry import endpoints, inside, sample_bilinear
from sdcnet.motion.classical import to_flow, to_pixels

NEIGHBOUR_MARGIN = 4  # grey levels, summed over channels, by which a neighbour's displacement must match better
LARGEST_DIFFERENCE = 80  # grey levels, summed over channels: a worse match is no worse than this
OUTSIDE = 2 * LARGEST_DIFFERENCE  # the same, where a displacement leads out of the frame
WORST = 255
WINDOW = (1, 4, 6, 4, 1)  # sixteenths, along each side of the window over which differences are averaged
BAND_ROWS = 64  # compared at a time on the host: what a band needs stays in the cache
_NO_SECOND_MAP: Any = None  # OpenCV takes it, its type stubs do not


class Choice(Protocol):
    """The best of the displacements that were offered so far, pixel by pixel."""

    def __init__(self, target: Tensor, annotated: Tensor) -> None:
        """Frames are [1,3,H,W] uint8 RGB."""

    def offer(self, flow: Tensor) -> None:
        """Take of a candidate, [1,2,H,W] float32 from the target into the annotated frame, what matches better."""
        ...

    def among_neighbours(self, reaches: Iterable[int]) -> Tensor:
        """What is chosen, [1,2,H,W], after every pixel was offered what its neighbours have, so far away in turn.

        That must match better by more than NEIGHBOUR_MARGIN. They lie to the right, left, below and above.
        """
        ...


class HostChoice:
    """By OpenCV, a band of rows after the other."""

    def __init__(self, target: Tensor, annotated: Tensor) -> None:
        # OpenCV reads between pixels faster where there are four channels
        self._target, self._annotated = (
            cv2.cvtColor(to_pixels(frame), cv2.COLOR_RGB2RGBA) for frame in (target, annotated)
        )
        height, width = target.shape[-2:]
        grid = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        self._grid = np.stack(grid, axis=-1)
        self._last = tuple(float(np.nextafter(np.float32(side - 0.5), np.float32(0))) for side in (width, height))
        self._cost = np.full((height, width), WORST, np.uint8)
        self._flow = np.zeros((height, width, 2), np.float32)

    def offer(self, flow: Tensor) -> None:
        self._offer((np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy()),))

    def among_neighbours(self, reaches: Iterable[int]) -> Tensor:
        self._cost = np.maximum(self._cost, NEIGHBOUR_MARGIN) - np.uint8(NEIGHBOUR_MARGIN)
        for reach in reaches:
            self._offer(tuple(self._neighbours(reach)))
        return to_flow(self._flow)

    def _neighbours(self, reach: int) -> Iterator[np.ndarray]:
        height, width = self._cost.shape
        padded = cv2.copyMakeBorder(self._flow, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
        for dx, dy in ((reach, 0), (-reach, 0), (0, reach), (0, -reach)):
            yield padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]

    def _offer(self, candidates: tuple[np.ndarray, ...]) -> None:
        height = len(self._cost)
        for top in range(0, height, BAND_ROWS):
            rows = slice(top, min(top + BAND_ROWS, height))
            for candidate in candidates:
                cost = self._cost_of(candidate, rows)
                better = cv2.compare(cost, self._cost[rows], cv2.CMP_LT)
                cv2.copyTo(cost, better, self._cost[rows])
                cv2.copyTo(candidate[rows], better, self._flow[rows])

    def _cost_of(self, candidate: np.ndarray, rows: slice) -> np.ndarray:
        """uint8, of these rows: the mean absolute difference around each pixel, in summed grey levels."""
        margin = len(WINDOW) // 2
        around = slice(max(0, rows.start - margin), rows.stop + margin)
        places = cv2.add(candidate[around], self._grid[around])
        warped = cv2.remap(self._annotated, places, _NO_SECOND_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = cv2.transform(cv2.absdiff(self._target[around], warped), np.ones((1, 4), np.float32))
        difference = np.minimum(difference, LARGEST_DIFFERENCE)
        difference[cv2.inRange(places, (-0.5, -0.5), self._last) == 0] = OUTSIDE
        start = rows.start - around.start
        return cv2.GaussianBlur(difference, (len(WINDOW), len(WINDOW)), 0)[start : start + rows.stop - rows.start]


class DeviceChoice:
    """In PyTorch, on the device of the frames."""

    def __init__(self, target: Tensor, annotated: Tensor) -> None:
        self._target, self._annotated = target.float(), annotated.float()
        window = torch.tensor(WINDOW, dtype=torch.float32, device=target.device)
        self._window = (window[:, None] * window)[None, None]
        self._cost = torch.full_like(self._target[:, :1], WORST)
        self._flow = torch.zeros_like(self._target[:, :2])

    def offer(self, flow: Tensor) -> None:
        cost = self._cost_of(flow)
        better = cost < self._cost
        self._cost = torch.where(better, cost, self._cost)
        self._flow = torch.where(better, flow, self._flow)

    def among_neighbours(self, reaches: Iterable[int]) -> Tensor:
        self._cost = self._cost.clamp_(min=NEIGHBOUR_MARGIN) - NEIGHBOUR_MARGIN
        height, width = self._cost.shape[-2:]
        for reach in reaches:
            padded = functional.pad(self._flow, (reach,) * 4, mode="replicate")
            for dx, dy in ((reach, 0), (-reach, 0), (0, reach), (0, -reach)):
                self.offer(padded[..., reach + dy : reach + dy + height, reach + dx : reach + dx + width])
        return self._flow

    def _cost_of(self, flow: Tensor) -> Tensor:
        """[1,1,H,W], whole numbers as float32, in which all that is computed here is exact."""
        warped = sample_bilinear(self._annotated, endpoints(flow)).round_()
        difference = (self._target - warped).abs_().sum(dim=1, keepdim=True).clamp_(max=LARGEST_DIFFERENCE)
        difference = torch.where(inside(flow), difference, float(OUTSIDE))
        margin = len(WINDOW) // 2
        mean = functional.conv2d(functional.pad(difference, (margin,) * 4, mode="reflect"), self._window)
        return ((mean + 128) / 256).floor_()
