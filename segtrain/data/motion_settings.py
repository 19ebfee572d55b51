"""Which motion between two frames, as trainings are told; no PyTorch is needed to know it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.console.settings import setting_of
from sdcnet.motion.registry import ESTIMATORS, PREDICTORS, MotionSettings


@dataclass(frozen=True, kw_only=True)
class PairMotionSettings:
    """An estimator that needs no more than the two frames.

    Raises: ValueError for one that does.
    """

    motion: str = setting_of(
        MotionSettings,
        "name",
        help=f"The estimator of motion; {' and '.join(PREDICTORS)} cannot serve here.",
        option="",
    )
    flownet2_weights: Path | None = setting_of(
        MotionSettings, "flownet2_weights", help="flownet2: the published file; it needs it.", otherwise=""
    )
    raft_weights: Path | None = setting_of(MotionSettings, "raft_weights")
    transcode: str | None = setting_of(MotionSettings, "transcode")

    def __post_init__(self) -> None:
        if self.motion in PREDICTORS:
            raise ValueError(
                f"motion '{self.motion}' is made of two frames before; choose another, such as --motion dis"
            )
        if self.motion == "codec" and self.transcode is None:
            raise ValueError("frames by themselves have no vectors of a codec; have them made, with --transcode mpeg4")

    def motion_settings(self, *, device: str, dtype: str) -> MotionSettings:
        """device, dtype: where it computes if it is a network. Raises: MotionError for settings it does not have."""
        where: dict[str, Any] = {"device": device, "dtype": dtype} if ESTIMATORS[self.motion].is_network else {}
        return MotionSettings(
            name=self.motion,
            flownet2_weights=self.flownet2_weights,
            raft_weights=self.raft_weights,
            transcode=self.transcode,
            **where,
        )
