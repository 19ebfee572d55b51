"""What the commands on videos have in common: which network, and which motion its schemes carry by what they hold."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console.settings import setting, setting_of
from sdcnet.errors import MotionError
from sdcnet.motion.registry import ESTIMATORS, PREDICTORS, MotionSettings, open_estimator
from segtrain.cli.network import WeightsConfig
from segtrain.video.registry import scheme_of

if TYPE_CHECKING:
    from sdcnet.motion.estimator import MotionEstimator
    from segtrain.video.tiled import Tiling

_OF_MOTION = ("motion", "flownet2_weights", "raft_weights", "transcode", "fallback")


@dataclass(frozen=True, kw_only=True)
class VideoNetworkConfig(WeightsConfig):
    """A network, a motion, and how frames are seen."""

    motion: str = setting_of(
        MotionSettings, "name", help=f"The estimator of motion; {' and '.join(PREDICTORS)} cannot serve here."
    )
    flownet2_weights: Path | None = setting_of(
        MotionSettings, "flownet2_weights", help="flownet2: the published file; it needs it.", otherwise=""
    )
    raft_weights: Path | None = setting_of(MotionSettings, "raft_weights")
    transcode: str | None = setting_of(MotionSettings, "transcode")
    fallback: str = setting_of(MotionSettings, "fallback")
    tiles: bool = setting(
        False,
        "See frames in tiles of 713x713 at six sizes, mirrored too, as PSPNet is scored: for a frame of 1024x2048 the "
        "network runs 162 times, and a scheme keeps 162 times what it keeps of a tile.",
    )

    @property
    def tiling(self) -> "Tiling | None":
        """How frames are cut; None where they are seen whole."""
        from segtrain.video.tiled import PUBLISHED

        return PUBLISHED if self.tiles else None

    def require_use(self, schemes: Collection[str]) -> None:
        """Raises: ValueError for options of a motion where none of the schemes carries anything along one."""
        given = [
            each.name
            for each in fields(VideoNetworkConfig)
            if each.name in _OF_MOTION and getattr(self, each.name) != each.default
        ]
        if given and not any(scheme_of(name).carries for name in schemes):
            option, named = given[0].replace("_", "-"), ", ".join(schemes)
            raise ValueError(f"--{option} has no effect on {named}: nothing is carried along a motion; leave it out")

    def motion_settings(self) -> MotionSettings:
        """Those of the motion; it computes where the network does, if it is one.

        Raises: MotionError for a video predictor, and for settings that the motion does not have.
        """
        if self.motion in PREDICTORS:
            raise MotionError(
                f"motion '{self.motion}' is made of two frames before, and a scheme keeps one; choose another, such as "
                "--motion dis"
            )
        where = {"device": self.device, "dtype": self.dtype} if ESTIMATORS[self.motion].is_network else {}
        return MotionSettings(
            name=self.motion,
            flownet2_weights=self.flownet2_weights,
            raft_weights=self.raft_weights,
            transcode=self.transcode,
            fallback=self.fallback,
            **where,  # type: ignore[arg-type]
        )

    def open_motion(self) -> "MotionEstimator":
        """Raises: MotionError, CheckpointError, ComputeError, where what it needs is not there or cannot be used."""
        return open_estimator(self.motion_settings())
