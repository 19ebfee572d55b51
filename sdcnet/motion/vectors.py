"""Motion vectors of a video's codec as backward flow, in cells of 8x8 pixels.

Sign and unit are the decoder's: a record's `(motion_x, motion_y) / motion_scale` leads from a block to where its
content was in the frame before, in pixels; half and quarter pixels are kept.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

CELL = 8  # pixels: the smallest blocks that decoders tell apart


@dataclass(frozen=True)
class CellFlow:
    """The flow from a frame to the one before it, a value for each cell.

    flow: flow_target_to_source [2,ceil(H/8),ceil(W/8)] float32 pixels, 0 where it is not known. known: bool of that
    size; blocks that the encoder did not predict are not, which often show what was not seen before. size: (H, W).
    """

    flow: Tensor
    known: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, records: np.ndarray, size: tuple[int, int]) -> Self:
        """The flow that a decoder's records tell of: [N] with the fields of `sdcnet.frames.exported.RECORD`.

        A block's `(dst_x, dst_y)` is its centre. What lies outside the frame is left out.
        """
        height, width = (-(-side // CELL) for side in size)
        flow, known = np.zeros((2, height, width), np.float32), np.zeros((height, width), bool)
        scale = records["motion_scale"].astype(np.float32)
        motion = np.stack((records["motion_x"], records["motion_y"])).astype(np.float32) / scale
        wide, high = records["w"].astype(np.int32), records["h"].astype(np.int32)
        left, top = (records["dst_x"] - wide // 2) // CELL, (records["dst_y"] - high // 2) // CELL
        for row in range(-(-int(high.max(initial=0)) // CELL)):
            for column in range(-(-int(wide.max(initial=0)) // CELL)):
                y, x = top + row, left + column
                there = (row * CELL < high) & (column * CELL < wide) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
                flow[:, y[there], x[there]] = motion[:, there]
                known[y[there], x[there]] = True
        return cls(torch.from_numpy(flow), torch.from_numpy(known), size)

    @property
    def share_known(self) -> float:
        return float(self.known.float().mean())

    def after(self, earlier: Self) -> Self:
        """The flow over two steps: this one, and from the frame where it leads, the earlier one.

        Each cell is followed from its centre. It is known where both steps are, and lead to within the frame.
        """
        (height, width), flow = self.known.shape, self.flow.numpy()
        rows, columns = np.mgrid[:height, :width] * CELL + CELL / 2
        y, x = np.floor((rows + flow[1]) / CELL).astype(int), np.floor((columns + flow[0]) / CELL).astype(int)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        known = inside & self.known.numpy() & earlier.known.numpy()[y, x]
        both = (flow + earlier.flow.numpy()[:, y, x]) * known
        return type(self)(torch.from_numpy(both.astype(np.float32)), torch.from_numpy(known), self.size)

    def filled(self) -> Tensor:
        """The flow with every cell that is not known the mean of its known neighbours of eight, repeated inwards; 0
        where nothing is known: [2,ceil(H/8),ceil(W/8)]."""
        known = self.known.numpy().astype(np.float32)
        values = np.dstack((*self.flow.numpy(), known))
        while 0 < np.count_nonzero(known) < known.size:
            sums = cv2.boxFilter(values, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
            new = (known == 0) & (sums[..., 2] > 0)
            values[new] = sums[new] / sums[new, 2:]
            known = values[..., 2]
        return torch.from_numpy(values[..., :2]).permute(2, 0, 1).contiguous()

    def dense(self, size: tuple[int, int] | None = None) -> Tensor:
        """The filled flow, for every pixel that of its cell: [1,2,H,W] float32 pixels.

        size: (H, W) of the same frames in another size, in whose pixels the flow is then; None for their own.
        """
        return torch.from_numpy(_of_pixels(self.filled().numpy(), self.size, size or self.size)).permute(2, 0, 1)[None]


def _of_pixels(flow: np.ndarray, size: tuple[int, int], wanted: tuple[int, int]) -> np.ndarray:
    """A flow of the cells [2,h,w] of a frame of one size -> of the pixels of one of another [H,W,2], in these."""
    row, column = (
        (np.arange(pixels) * (2 * side) + side) // (2 * CELL * pixels)
        for side, pixels in zip(size, wanted, strict=True)
    )
    height, width = wanted
    scale = np.array([width / size[1], height / size[0]], np.float32)
    cells = flow.transpose(1, 2, 0) * scale
    return cells[row].take(column, axis=1)
