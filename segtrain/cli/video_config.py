"""What the commands on video have in common: which scheme steps along it, and by which motion."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jobs.console.settings import setting_of
from sdcnet.motion.registry import ESTIMATORS, MotionSettings
from segtrain.video.registry import SchemeSettings


@dataclass(frozen=True, kw_only=True)
class SteppingConfig:
    """A scheme and a motion."""

    scheme: SchemeSettings
    motion: str = setting_of(MotionSettings, "name")
    sdcnet_weights: Path | None = setting_of(MotionSettings, "sdcnet_weights")
    flownet2_weights: Path | None = setting_of(MotionSettings, "flownet2_weights")
    raft_weights: Path | None = setting_of(MotionSettings, "raft_weights")
    input_flow: str | None = setting_of(MotionSettings, "input_flow")

    def motion_settings(self, device: str, dtype: str) -> MotionSettings:
        """Raises: MotionError for settings that the motion does not have."""
        own = {each.name for each in fields(SteppingConfig)} & {each.name for each in fields(MotionSettings)}
        given: dict[str, Any] = {name: getattr(self, name) for name in own}
        if ESTIMATORS[self.motion].is_network:
            given |= {"device": device, "dtype": dtype}
        return MotionSettings(name=self.motion, **given)
