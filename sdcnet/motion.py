"""Motion estimators: the protocol they share, and the names by which the command line knows them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sdcnet.errors import MotionError

if TYPE_CHECKING:  # the names of the estimators are there for a command line that may not need torch at all
    from torch import Tensor


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


class MotionEstimator(Protocol):
    """Frames to backward flow.

    `num_history` is how many frames before the target one step reads; `refinable` tells whether composed flows may
    be corrected on the images, which would undo an estimator that leaves motion out on purpose; `is_network`, whether
    it is one, beside which other work should go on; `fingerprint` holds whatever decides the numbers that come out
    (settings, digests of weights, versions), as plain JSON values.
    """

    num_history: int
    refinable: bool
    is_network: bool

    @property
    def fingerprint(self) -> Mapping[str, object]: ...

    def estimate(self, frames: "Mapping[int, Tensor]", steps: Sequence[Step]) -> "Iterator[Tensor]":
        """One flow per step, in order: flow_target_to_source [1,2,H,W] float32 pixels.

        frames: offset -> [1,3,H,W] uint8 RGB. All steps are known at once, so that an estimator may batch them and
        compute what they share only once; it yields as early as it can.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class MotionSettings:
    """Which estimator, by its name in ESTIMATORS, and what the learned ones need besides.

    input_flow: of the video predictors: 'flownet2' or 'dis'; None takes what the weights were trained with, if they
    say so, else FlowNet2. flownet2_weights: None takes those in the video predictor's file, if it holds any.
    """

    name: str = "dis"
    sdcnet_weights: Path | None = None
    flownet2_weights: Path | None = None
    input_flow: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        """Raises MotionError for a name that is unknown, or for settings that the estimator of that name has not."""
        if self.name not in ESTIMATORS:
            raise MotionError(f"no motion estimator '{self.name}'; known are {', '.join(ESTIMATORS)}")
        of_networks = ("flownet2_weights", "device", "dtype", "compile")
        takes = {"flownet2": of_networks, **dict.fromkeys(PREDICTORS, (*of_networks, "sdcnet_weights", "input_flow"))}
        for field in fields(self)[1:]:
            if getattr(self, field.name) != field.default and field.name not in takes.get(self.name, ()):
                raise MotionError(f"motion '{self.name}' has no setting {field.name}; leave it out")

    @property
    def is_network(self) -> bool:
        return self.name in NETWORKS


def _dis(_: MotionSettings) -> MotionEstimator:
    from sdcnet.classical import Dis

    return Dis()


def _tvl1(_: MotionSettings) -> MotionEstimator:
    from sdcnet.classical import TvL1

    return TvL1()


def _none(_: MotionSettings) -> MotionEstimator:
    from sdcnet.classical import NoMotion

    return NoMotion()


def _network(settings: MotionSettings) -> MotionEstimator:
    from sdcnet.learned import open_network

    return open_network(settings)


INPUT_FLOWS = ("flownet2", "dis")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
PREDICTORS: Mapping[str, str] = {"sdcnet": "SDCNet2DRecon", "sdcnet-predict": "SDCNet2D"}  # architectures, by motion
NETWORKS = ("flownet2", *PREDICTORS)
ESTIMATORS: Mapping[str, Callable[[MotionSettings], MotionEstimator]] = {
    "dis": _dis,
    "tvl1": _tvl1,
    "none": _none,
    **dict.fromkeys(NETWORKS, _network),
}


def open_estimator(settings: MotionSettings) -> MotionEstimator:
    """The motion estimator of these settings, ready to work.

    Raises: MotionError, CheckpointError, where what it needs is not there or cannot be used.
    """
    return ESTIMATORS[settings.name](settings)
