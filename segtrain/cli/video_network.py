"""What the commands on videos have in common: which network, and which motion its schemes carry by what they hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console.settings import setting_of
from sdcnet.motion.registry import ESTIMATORS, MotionSettings, open_estimator
from segtrain.cli.network import WeightsConfig

if TYPE_CHECKING:
    from sdcnet.motion.estimator import MotionEstimator


@dataclass(frozen=True, kw_only=True)
class VideoNetworkConfig(WeightsConfig):
    """A network, and a motion."""

    motion: str = setting_of(MotionSettings, "name")
    flownet2_weights: Path | None = setting_of(
        MotionSettings, "flownet2_weights", help="flownet2: the published file; it needs it.", otherwise=""
    )
    raft_weights: Path | None = setting_of(MotionSettings, "raft_weights")

    def open_motion(self) -> "MotionEstimator":
        """The estimator of motion, where the network computes too, if it is one.

        Raises: MotionError, CheckpointError, ComputeError, where what it needs is not there or cannot be used.
        """
        where = {"device": self.device, "dtype": self.dtype} if ESTIMATORS[self.motion].is_network else {}
        return open_estimator(
            MotionSettings(
                name=self.motion,
                flownet2_weights=self.flownet2_weights,
                raft_weights=self.raft_weights,
                **where,  # type: ignore[arg-type]
            )
        )
