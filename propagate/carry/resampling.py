"""An annotated frame and its displacements to propagated label maps and predicted frames."""

from typing import Protocol

import torch
from torch import Tensor

from propagate.carry.walk import Displacement
from sdcnet.geometry import warp_frames, warp_labels


class Resampler(Protocol):
    """Carries one label map and its frame along a walk, offset by offset, nearest first.

    frame: [1,3,H,W] uint8 RGB; label: [1,1,H,W] uint8.
    """

    def __init__(self, frame: Tensor, label: Tensor) -> None: ...

    def label(self, displacement: Displacement) -> Tensor:
        """The label map at the displacement's offset: [1,1,H,W] uint8."""
        ...

    def frame(self, displacement: Displacement) -> Tensor:
        """The frame predicted for that offset: [1,3,H,W] uint8."""
        ...


class Composed:
    """One resampling, straight from the annotated frame: nothing is blurred or worn away on the way."""

    def __init__(self, frame: Tensor, label: Tensor) -> None:
        self._frame, self._label = frame, label

    def label(self, displacement: Displacement) -> Tensor:
        return warp_labels(self._label, displacement.flow)

    def frame(self, displacement: Displacement) -> Tensor:
        return warp_frames(self._frame.float(), displacement.flow).round().to(torch.uint8)


class Recursive:
    """Every step resamples the result of the one before, as the published script does.

    Its quirks are kept: the first step warps the frame bilinearly, later ones to the nearest pixel, and values are
    truncated, not rounded. Reference: Zhu et al., CVPR 2019, as released.
    """

    def __init__(self, frame: Tensor, label: Tensor) -> None:
        self._frame, self._label = frame, label

    def label(self, displacement: Displacement) -> Tensor:
        self._label = warp_labels(self._label, displacement.step)
        return self._label

    def frame(self, displacement: Displacement) -> Tensor:
        if abs(displacement.offset) == 1:
            self._frame = warp_frames(self._frame.float(), displacement.step).to(torch.uint8)
        else:
            self._frame = warp_labels(self._frame, displacement.step)
        return self._frame


RESAMPLERS: dict[str, type[Resampler]] = {"composed": Composed, "recursive": Recursive}
