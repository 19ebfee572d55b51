"""An annotated frame and its displacements to propagated label maps and predicted frames."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from propagate.carry.paths import together
from propagate.carry.walk import Displacement
from sdcnet.geometry import warp_frames, warp_labels


class Resampler(Protocol):
    """Carries one label map and its frame along a walk, some offsets after the others, nearest first.

    frame: [1,3,H,W] uint8 RGB; label: [1,1,H,W] uint8.
    """

    def __init__(self, frame: Tensor, label: Tensor) -> None: ...

    def labels(self, displacements: Sequence[Displacement]) -> Tensor:
        """The label maps at the offsets of N displacements: [N,1,H,W] uint8."""
        ...

    def frames(self, displacements: Sequence[Displacement]) -> Tensor:
        """The frames predicted for those offsets: [N,3,H,W] uint8."""
        ...


class Composed:
    """One resampling, straight from the annotated frame: nothing is blurred or worn away on the way."""

    def __init__(self, frame: Tensor, label: Tensor) -> None:
        self._frame, self._label = frame, label

    def labels(self, displacements: Sequence[Displacement]) -> Tensor:
        return warp_labels(*_each(self._label, displacements))

    def frames(self, displacements: Sequence[Displacement]) -> Tensor:
        return warp_frames(*_each(self._frame.float(), displacements)).round().to(torch.uint8)


class Recursive:
    """Every step resamples the result of the one before, as the published script does.

    Its quirks are kept: the first step warps the frame bilinearly, later ones to the nearest pixel, and values are
    truncated, not rounded. Reference: Zhu et al., CVPR 2019, as released.
    """

    def __init__(self, frame: Tensor, label: Tensor) -> None:
        self._frame, self._label = frame, label

    def labels(self, displacements: Sequence[Displacement]) -> Tensor:
        labels = []
        for displacement in displacements:
            self._label = warp_labels(self._label, displacement.step)
            labels.append(self._label)
        return together(labels)

    def frames(self, displacements: Sequence[Displacement]) -> Tensor:
        frames = []
        for displacement in displacements:
            if abs(displacement.offset) == 1:
                self._frame = warp_frames(self._frame.float(), displacement.step).to(torch.uint8)
            else:
                self._frame = warp_labels(self._frame, displacement.step)
            frames.append(self._frame)
        return together(frames)


RESAMPLERS: dict[str, type[Resampler]] = {"composed": Composed, "recursive": Recursive}


def _each(annotated: Tensor, displacements: Sequence[Displacement]) -> tuple[Tensor, Tensor]:
    """What there is of the annotated frame [1,C,H,W], once for each displacement, and the flows [N,2,H,W] to it."""
    flows = together([displacement.flow for displacement in displacements])
    return annotated.expand(len(flows), -1, -1, -1), flows
