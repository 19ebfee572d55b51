"""The motion estimators that there are, by the names that command lines know, and the settings of the chosen one.

`sdcnet.motion.estimator` says what an estimator is. A new one is a class in a file of its own, and a line below.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Protocol

from jobs.console.settings import setting, setting_of
from jobs.errors import UnknownNameError
from jobs.registry import Registry
from jobs.training.devices import RuntimeSettings
from sdcnet.errors import MotionError
from sdcnet.motion.estimator import MotionEstimator


class EstimatorClass(Protocol):
    """A class of estimators.

    takes: the settings, beside the name, that mean something to it. is_network: as of its estimators.
    """

    takes: tuple[str, ...]
    is_network: bool

    def open(self, settings: "MotionSettings") -> MotionEstimator:
        """The estimator of these settings, which are of this class."""
        ...


INPUT_FLOWS = ("flownet2", "dis")  # what a video predictor can refine
PREDICTORS: Mapping[str, str] = {"sdcnet": "SDCNet2DRecon", "sdcnet-predict": "SDCNet2D"}  # architectures, by motion
TRANSCODINGS = ("mpeg4",)  # what frames can be encoded as, for the sake of the vectors
FALLBACKS = ("mpeg4", "dis")  # where a video has no vectors
RAFTS: Mapping[str, str] = {"raft": "large", "raft-small": "small"}  # variants of the network, by motion
ESTIMATORS: Registry[EstimatorClass] = Registry(
    "motion estimator",
    {
        "dis": "sdcnet.motion.classical:Dis",
        "tvl1": "sdcnet.motion.classical:TvL1",
        "none": "sdcnet.motion.classical:NoMotion",
        "codec": "sdcnet.motion.codec:CodecMotion",
        "flownet2": "sdcnet.motion.learned:FlowNet2Motion",
        **dict.fromkeys(RAFTS, "sdcnet.motion.raft:RaftMotion"),
        **dict.fromkeys(PREDICTORS, "sdcnet.motion.learned:PredictedMotion"),
    },
)


@dataclass(frozen=True, kw_only=True)
class MotionSettings:
    """Which estimator, by its name in ESTIMATORS, and what the learned ones need besides.

    input_flow: of the video predictors: 'flownet2' or 'dis'; None takes what the weights were trained with, if they
    say so, else FlowNet2. flownet2_weights: None takes those in the video predictor's file, if it holds any.
    OF_ALL: the settings that mean something with every estimator.
    """

    OF_ALL: ClassVar[tuple[str, ...]] = ("name",)

    name: str = setting("dis", "The estimator of motion.", choices=ESTIMATORS, option="motion")
    sdcnet_weights: Path | None = setting(
        None, "sdcnet, sdcnet-predict: the published file, or one of `sdcnet fit`; these need it."
    )
    flownet2_weights: Path | None = setting(
        None,
        "flownet2, and where it is the input flow: the published file.",
        otherwise="those in the file of --sdcnet-weights, if any",
    )
    raft_weights: Path | None = setting(
        None, "raft, raft-small: torchvision's file, or that of RAFT's authors; these need it."
    )
    input_flow: str | None = setting(
        None,
        "What the video predictor refines.",
        choices=INPUT_FLOWS,
        otherwise="what it was trained with; flownet2 for published weights",
    )
    transcode: str | None = setting(
        None,
        "codec: encode all frames as this, in memory, for the motion vectors; any data set will do then.",
        choices=TRANSCODINGS,
        otherwise="take those of the video",
    )
    fallback: str = setting(
        "mpeg4",
        "codec: what serves where the video has no vectors that lead there; mpeg4 encodes these frames.",
        choices=FALLBACKS,
    )
    device: str = setting_of(RuntimeSettings, "device")
    dtype: str = setting_of(RuntimeSettings, "dtype")
    compile: bool = setting_of(RuntimeSettings, "compile")

    def __post_init__(self) -> None:
        """Raises: MotionError for an unknown name, and for settings that the estimator of that name does not have."""
        try:
            takes = ESTIMATORS[self.name].takes
        except UnknownNameError as error:
            raise MotionError(str(error)) from None
        for field in fields(self):
            if getattr(self, field.name) != field.default and field.name not in (*self.OF_ALL, *takes):
                raise MotionError(f"motion '{self.name}' has no setting {field.name}; leave it out")

    @property
    def reads_vectors(self) -> bool:
        """Whether its estimator wants `CodedObservation`."""
        return self.name == "codec" and self.transcode is None

    @property
    def is_network(self) -> bool:
        return ESTIMATORS[self.name].is_network


def open_estimator(settings: MotionSettings) -> MotionEstimator:
    """The motion estimator of these settings, ready to work.

    Raises: MotionError, CheckpointError, ComputeError, where what it needs is not there or cannot be used.
    """
    return ESTIMATORS[settings.name].open(settings)
