"""A stepper along the frames of a video, each step timed."""

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from jobs.timing import Stopwatch
from jobs.training.memory import enough_memory
from jobs.training.runtime import Runtime
from segtrain.errors import InferenceError
from segtrain.video.stepper import Cost, Seen, Stepper


class Stepped(NamedTuple):
    """What was made of a frame.

    labels: [H,W] uint8 train ids. seconds: without motion_seconds, those of the motion, 0 where none was asked for.
    """

    number: int
    labels: Tensor
    cost: Cost
    seconds: float
    motion_seconds: float

    @property
    def is_full(self) -> bool:
        """Whether the scores descend from this frame alone: nothing was kept, or carried, from those before."""
        return set(self.cost.fused_from) == {self.number}


def stepped(stepper: Stepper, frames: Iterable[Seen], runtime: Runtime, watch: Stopwatch) -> Iterator[Stepped]:
    """What a stepper makes of the frames of one video: it is reset before.

    watch: that on which the frames' motion is timed, as "motion". Seconds end when the device has done its work.
    Raises: TooLargeError where the memory does not hold a frame; InferenceError for scores that are not finite.
    """
    stepper.reset()
    for seen in frames:
        height, width = seen.image.shape[-2:]
        begin, of_motion = perf_counter(), watch.seconds["motion"]
        with (
            enough_memory(runtime.device, f"with a frame of {height}x{width} pixels"),
            torch.inference_mode(),
            runtime.autocast(),
        ):
            logits, cost = stepper.step(seen)
            least, most = torch.aminmax(_as_it_lies(logits))
            labels = logits[0].max(0).indices.to(torch.uint8).cpu()  # as argmax, in half the time; waits for the device
        motion_seconds = watch.seconds["motion"] - of_motion
        seconds = perf_counter() - begin - motion_seconds
        if not (torch.isfinite(least) and torch.isfinite(most)):
            raise InferenceError(f"frame {seen.number}: the network's scores are not finite; check the weights")
        yield Stepped(seen.number, labels, cost, seconds, motion_seconds)


def _as_it_lies(maps: Tensor) -> Tensor:
    """Maps in the order that they have in memory: reduced in another, they would be copied."""
    return maps.permute(0, 2, 3, 1) if maps.is_contiguous(memory_format=torch.channels_last) else maps
