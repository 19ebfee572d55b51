"""Clocks: at which frames of a video the stages of a network are computed, and not taken from an earlier frame.

Reference: Shelhamer et al., Clockwork Convnets for Video Semantic Segmentation, 2016.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

HISTORY = 12  # frames before one that is scored, for a clock that no number of frames describes


class StageClock(Protocol):
    """Which stages are computed of a frame, the first stage first; where one is not, none after it is."""

    @property
    def num_stages(self) -> int: ...

    @property
    def phases(self) -> tuple[int, ...]:
        """As `Stepper.phases`."""
        ...

    def fires(self, since_full: int, difference: float | None) -> tuple[bool, ...]:
        """since_full: frames since the last one of which all stages were computed, 1 or more. difference: from that
        frame, by a signal; None for a clock that looks at none.
        """
        ...


@dataclass(frozen=True)
class Fixed:
    """Each stage every so many frames: (1, 1, 2) is the published alternating clockwork.

    Raises: ValueError where a rate does not divide the next one: a stage would run on what is old already.
    """

    rates: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.rates, default=0) < 1:
            raise ValueError(f"rates are whole numbers of frames, 1 or more, found {self.rates}")
        if any(later % earlier for earlier, later in pairwise(self.rates)):
            raise ValueError(
                f"each of the rates must divide the next, or a stage is computed from what is old; found {self.rates}, "
                "choose such as 1, 2, 4"
            )

    @property
    def num_stages(self) -> int:
        return len(self.rates)

    @property
    def phases(self) -> tuple[int, ...]:
        return tuple(range(self.rates[-1]))

    def fires(self, since_full: int, difference: float | None = None) -> tuple[bool, ...]:  # noqa: ARG002
        return tuple(since_full % rate == 0 for rate in self.rates)


@dataclass(frozen=True)
class Adaptive:
    """The last stage where a frame differs by the threshold or more from the last one that it was computed of.

    The other stages are computed of every frame. At threshold 0 the last one is too, and above 1 never by a share.
    longest_wait: frames after which it is computed in any case.
    """

    num_stages: int
    threshold: float
    longest_wait: int | None = None
    phases = (HISTORY,)

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"threshold must be 0 or more, found {self.threshold}")
        if self.longest_wait is not None and self.longest_wait < 1:
            raise ValueError(f"longest_wait must be 1 frame or more, found {self.longest_wait}")

    def fires(self, since_full: int, difference: float | None) -> tuple[bool, ...]:
        waited = self.longest_wait is not None and since_full >= self.longest_wait
        is_last = waited or (difference is not None and difference >= self.threshold)
        return (*[True] * (self.num_stages - 1), is_last)


@dataclass(frozen=True)
class Pipelined:
    """All stages on every frame, at the same time, each from what the one before it made of the frame before.

    num_steps: into how many steps the stages are parted: of 2, the last stage is one and all others are the other.
    """

    num_stages: int
    num_steps: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_steps <= self.num_stages:
            raise ValueError(
                f"a pipeline of {self.num_stages} stages has 1 to {self.num_stages} steps, found {self.num_steps}"
            )

    @property
    def steps(self) -> tuple[range, ...]:
        """The numbers of the stages of each step, the first step first."""
        num_first = self.num_stages - self.num_steps + 1
        return (range(num_first), *(range(stage, stage + 1) for stage in range(num_first, self.num_stages)))
