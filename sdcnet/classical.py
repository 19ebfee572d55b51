"""Motion without learned weights: DIS, TV-L1, and none at all."""

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import skimage
import torch
from skimage.registration import optical_flow_tvl1
from torch import Tensor

from sdcnet.motion import Step


def _grey(frame: Tensor) -> np.ndarray:
    """[1,3,H,W] uint8 RGB -> [H,W] uint8 luma."""
    return cv2.cvtColor(np.ascontiguousarray(frame[0].permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)


class Dis:
    """Dense inverse search on grey frames, down to full resolution.

    Reference: Kroeger et al., ECCV 2016; OpenCV's implementation, medium preset with finest scale 0.
    """

    num_history = 1
    fingerprint: Mapping[str, object] = {"motion": "dis", "opencv": cv2.__version__}

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._dis.setFinestScale(0)

    def estimate(self, frames: Mapping[int, Tensor], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            flow = self._dis.calc(_grey(frames[step.target]), _grey(frames[step.source]), None)
            yield torch.from_numpy(flow).permute(2, 0, 1)[None].contiguous()


class TvL1:
    """Total variation with an L1 data term: slow, smooth. Reference: Zach et al., DAGM 2007; scikit-image's."""

    num_history = 1
    fingerprint: Mapping[str, object] = {"motion": "tvl1", "scikit-image": skimage.__version__}

    def estimate(self, frames: Mapping[int, Tensor], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            rows, columns = optical_flow_tvl1(
                _grey(frames[step.target]), _grey(frames[step.source]), dtype=np.float32
            )
            yield torch.from_numpy(np.stack((columns, rows)))[None]


class NoMotion:
    """Labels stay where they are: the floor of every comparison."""

    num_history = 1
    fingerprint: Mapping[str, object] = {"motion": "none"}

    def estimate(self, frames: Mapping[int, Tensor], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            yield torch.zeros(1, 2, *frames[step.target].shape[-2:])
