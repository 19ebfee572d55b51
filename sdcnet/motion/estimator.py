"""What a motion estimator is: observations of frames, and steps between them, to flows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # who only says what is to be estimated needs no torch
    from torch import Tensor

    from jobs.training.transfers import Transfers
    from sdcnet.motion.vectors import CellFlow


@dataclass(frozen=True)
class Step:
    """One step of a walk away from the annotated frame, as offsets of frames.

    ``history`` holds the offsets that a video predictor may look back on, oldest first; the last of them is the
    frame to which the step's flow leads.
    """

    history: tuple[int, ...]
    target: int

    @property
    def source(self) -> int:
        return self.history[-1]


class Observation(Protocol):
    """What is known of one frame: its pixels, and whatever else its source has to offer.

    A source that knows more gives a class of its own with further properties, as `CodedObservation` has them; an
    estimator that needs them asks for that class, all others look at the pixels.
    """

    @property
    def pixels(self) -> "Tensor":
        """[1,3,H,W] uint8 RGB."""
        ...


@runtime_checkable
class CodedObservation(Observation, Protocol):
    """A frame of a video, and the motion that the codec stored with it."""

    @property
    def to_previous(self) -> "CellFlow | None":
        """The flow to the frame before it in the video; None where the codec has none that surely leads there."""
        ...


@dataclass(frozen=True)
class ObservedPixels:
    """A frame of which nothing is known but its pixels, [1,3,H,W] uint8 RGB."""

    pixels: "Tensor"


@dataclass(frozen=True)
class ObservedInVideo:
    """A `CodedObservation`. Its pixels may be of another size than the video, as halves of large frames are."""

    pixels: "Tensor"
    to_previous: "CellFlow | None"


class MotionEstimator(Protocol):
    """Observed frames to backward flow.

    `num_history` is how many frames before the target one step reads; `refinable` tells whether composed flows may
    be corrected on the images, which would undo an estimator that leaves motion out on purpose; `full_size`, whether
    it wants observations as they are, where others can do with halves of large frames; `transfers`, what leads to the
    device where it computes if it is a network, beside which other work should go on: flows are there, and so should
    observations be;
    `fingerprint` holds whatever decides the numbers that come out (settings, digests of weights, versions), as plain
    JSON values.
    """

    num_history: int
    refinable: bool
    full_size: bool

    @property
    def transfers(self) -> "Transfers | None": ...

    @property
    def fingerprint(self) -> Mapping[str, object]: ...

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> "Iterator[Tensor]":
        """One flow per step, in order: flow_target_to_source [1,2,H,W] float32 pixels.

        observations: by offset, of frames of one size. All steps are known at once, so that an estimator may batch them
        and compute what they share only once; it yields as early as it can.
        """
        ...


def flow_between(estimator: MotionEstimator, source: Observation, target: Observation) -> "Tensor":
    """flow_target_to_source [1,2,H,W] float32 pixels of two frames on the host, there where the estimator computes.

    It looks back on one frame alone.
    """
    pair: dict[int, Observation] = {-1: source, 0: target}
    if (transfers := estimator.transfers) is not None:
        pair = {offset: ObservedPixels(transfers.to_device(seen.pixels)) for offset, seen in pair.items()}
    (flow,) = estimator.estimate(pair, (Step(history=(-1,), target=0),))
    return flow
