"""What a scheme for video is: it sees frames in their order, keeps what it needs of them, and scores each of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from torch import Tensor

from sdcnet.geometry import inside, is_seen


class Motion(NamedTuple):
    """How a frame moved since the one before it.

    flow_to_previous: [1,2,h,w] float32, in pixels of the image, one vector for each of h x w cells of equal size.
    known: [1,1,h,w] bool, the cells whose vector says something; that of the others was filled in from around them.
    """

    flow_to_previous: Tensor
    known: Tensor


@dataclass(frozen=True)
class Seen:
    """A frame as a stepper sees it.

    number: counted from 0 in its video. image: [1,3,H,W] as `preprocessing.normalised` gives it, on the network's
    device. is_key: whether the codec stored it whole, None where no codec says so. is_new: whether nothing leads here
    from the frame before: the first one, one of another size, one after a cut. find_motion: works out the motion, and
    find_back that of the frame before to this one, a vector for each pixel; None where nothing finds it.
    """

    number: int
    image: Tensor
    is_key: bool | None
    is_new: bool
    find_motion: Callable[[], Motion]
    find_back: Callable[[], Tensor | None] = lambda: None

    @cached_property
    def motion(self) -> Motion:
        """Worked out when it is first asked for: key frames have no use for it."""
        return self.find_motion()

    @cached_property
    def back(self) -> Tensor | None:
        """As `motion`, of the way back."""
        return self.find_back()

    @cached_property
    def motion_within(self) -> Motion:
        """The motion, of which nothing is known but what the frame before shows too: what did not come in from outside,
        and, where the motion back is found, what it leads back to."""
        flow, known = self.motion
        (height, width), (rows, columns) = self.image.shape[-2:], flow.shape[-2:]
        known = known & inside(flow * flow.new_tensor([columns / width, rows / height]).view(1, 2, 1, 1))
        if self.back is not None:
            known &= is_seen(flow, self.back)
        return Motion(flow, known)


class Cost(NamedTuple):
    """What a step did.

    ran: what was computed, in order, by the names that `Stepper.macs` knows. fused_from: the numbers of the frames that
    the scores descend from, the earlier parts of the network first. motions: how many were found for the frame: 2 with
    that of the way back. difference: how far the frame was from the last one that was computed in full, where the
    scheme asks for that.
    """

    ran: tuple[str, ...]
    fused_from: tuple[int, ...]
    motions: int = 0
    difference: float | None = None


class Stepper(Protocol):
    """One video, frame after frame; another video takes another stepper, or `reset`.

    phases: how many frames after a reset the scored ones are to be, so that every state in which a frame can be met
    counts once: 0 … N-1 of a scheme that computes every N-th frame in full.
    """

    @property
    def phases(self) -> tuple[int, ...]: ...

    def reset(self) -> None:
        """Forget all frames; the next one is computed in full."""
        ...

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        """The next frame -> its scores, [1,C,H,W]. It is computed in full where it is the first, or `is_new`."""
        ...

    def macs(self, size: tuple[int, int]) -> Mapping[str, int]:
        """Of a frame of size (H, W): the multiply-accumulates of each part that a step may say it ran."""
        ...
