"""The two ways in which labels are carried: on the host, by OpenCV, and on the device of a network, in PyTorch.

What is done is the same, and so is what comes out, but for the candidates of refinement: DIS, which corrects
displacements on the host, does not work on a device, where those a pixel beside them are tried.
"""

from collections.abc import Sequence
from typing import Protocol

import cv2
import torch
from torch import Tensor
from torch.nn import functional

from jobs.training.transfers import Transfers
from propagate.carry.choice import Choice, DeviceChoice, HostChoice
from sdcnet.motion.classical import dis_correction, to_flow, to_grey
from sdcnet.motion.estimator import MotionEstimator

# How many pixels get their labels and confidence at a time, which takes some 120 bytes for each. A CPU gains nothing
# from more than its caches hold.
PIXELS_AT_A_TIME = {"cpu": 2**17, "cuda": 2**24}
_LUMA = (9798, 19235, 3735)  # of red, green and blue, in 2^15ths, as OpenCV rounds them
_LUMA_BITS = 15


class CarryingPath(Protocol):
    """What refinement and confidence are made of. Frames are [1,3,H,W] uint8 RGB, flows [1,2,H,W] float32 pixels."""

    name: str  # in fingerprints
    device: torch.device

    def at_a_time(self, size: tuple[int, int]) -> int:
        """Of how many frames (H, W) labels and confidence are made together, once they have their displacements."""
        ...

    def to_device(self, tensor: Tensor) -> Tensor: ...

    def to_host(self, tensor: Tensor) -> Tensor: ...

    def choice(self, target: Tensor, annotated: Tensor) -> Choice: ...

    def candidates(self, flow_target_to_annotated: Tensor, target: Tensor, annotated: Tensor) -> list[Tensor]:
        """A displacement, and others near it that may match the frames better; of equal ones the first is preferred."""
        ...

    def grey(self, frames: Tensor) -> Tensor:
        """[N,3,H,W] uint8 RGB -> [N,1,H,W] float32, whole grey levels."""
        ...

    def window_mean(self, images: Tensor, side: int) -> Tensor:
        """[N,1,H,W] float32 -> the mean over the side x side pixels around each, images mirrored at their borders."""
        ...

    def distance(self, marked: Tensor, most: int) -> Tensor:
        """How far each pixel is from the nearest marked one, at most `most`: [N,1,H,W] bool -> float32 pixels.

        Of the distances along x and along y the larger counts, so that it is a whole number, and the same on all paths.
        """
        ...


class HostPath:
    """On the CPU, a frame at a time: more would leave its caches."""

    name = "host"
    device = torch.device("cpu")

    def at_a_time(self, size: tuple[int, int]) -> int:  # noqa: ARG002
        return 1

    def to_device(self, tensor: Tensor) -> Tensor:
        return tensor

    def to_host(self, tensor: Tensor) -> Tensor:
        return tensor

    def choice(self, target: Tensor, annotated: Tensor) -> Choice:
        return HostChoice(target, annotated)

    def candidates(self, flow_target_to_annotated: Tensor, target: Tensor, annotated: Tensor) -> list[Tensor]:
        """What DIS makes of the displacement between the two frames themselves, and the displacement."""
        guess = flow_target_to_annotated[0].permute(1, 2, 0).contiguous().numpy()
        return [to_flow(dis_correction(to_grey(target), to_grey(annotated), guess)), flow_target_to_annotated]

    def grey(self, frames: Tensor) -> Tensor:
        return together([torch.from_numpy(to_grey(frame)).float()[None, None] for frame in frames.split(1)])

    def window_mean(self, images: Tensor, side: int) -> Tensor:
        return together([torch.from_numpy(cv2.blur(image.numpy(), (side, side)))[None, None] for image in images[:, 0]])

    def distance(self, marked: Tensor, most: int) -> Tensor:
        masks = (~marked[:, 0]).byte().numpy()
        found = [torch.from_numpy(cv2.distanceTransform(mask, cv2.DIST_C, 3))[None, None] for mask in masks]
        return together(found).clamp_(max=most)


class DevicePath:
    """On the device that `transfers` lead to, which may be the CPU too."""

    name = "device"

    def __init__(self, transfers: Transfers) -> None:
        self.device = transfers.device
        self.to_device, self.to_host = transfers.to_device, transfers.to_host

    def at_a_time(self, size: tuple[int, int]) -> int:
        return max(1, PIXELS_AT_A_TIME[self.device.type] // (size[0] * size[1]))

    def choice(self, target: Tensor, annotated: Tensor) -> Choice:
        return DeviceChoice(target, annotated)

    def candidates(self, flow_target_to_annotated: Tensor, target: Tensor, annotated: Tensor) -> list[Tensor]:  # noqa: ARG002
        """The displacement, and those a pixel to each side of it."""
        flow = flow_target_to_annotated
        sides = flow.new_tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]).view(5, 1, 2, 1, 1)
        return list(flow + sides)

    def grey(self, frames: Tensor) -> Tensor:
        luma = torch.tensor(_LUMA, dtype=torch.int32, device=frames.device).view(1, 3, 1, 1)
        total = (frames * luma).sum(dim=1, keepdim=True, dtype=torch.int32)
        return ((total + (1 << _LUMA_BITS - 1)) >> _LUMA_BITS).float()

    def window_mean(self, images: Tensor, side: int) -> Tensor:
        mirrored = _mirrored(_mirrored(images, side // 2, dim=2), side // 2, dim=3)
        return functional.avg_pool2d(functional.avg_pool2d(mirrored, (side, 1), 1), (1, side), 1)

    def distance(self, marked: Tensor, most: int) -> Tensor:
        reached = marked.float()
        found = torch.zeros_like(reached)
        for _ in range(most):
            found += 1 - reached
            reached = functional.max_pool2d(reached, 3, stride=1, padding=1)
        return found


def path_of(estimator: MotionEstimator) -> CarryingPath:
    """Where labels are carried by an estimator's motion: on its device if it is a network, else on the host."""
    return HostPath() if estimator.transfers is None else DevicePath(estimator.transfers)


def together(images: Sequence[Tensor]) -> Tensor:
    """[1,C,H,W] each -> [N,C,H,W]: a single one as it is, without a copy."""
    return torch.cat(list(images)) if len(images) > 1 else images[0]


def _mirrored(images: Tensor, margin: int, dim: int) -> Tensor:
    """Images with so many rows or columns more on both sides, mirrored at the outermost ones, if need be often."""
    size = images.shape[dim]
    period = max(1, 2 * (size - 1))
    place = torch.arange(-margin, size + margin, device=images.device) % period
    return images.index_select(dim, torch.minimum(place, period - place).clamp(max=size - 1))
