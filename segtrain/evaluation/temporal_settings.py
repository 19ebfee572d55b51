"""How temporal consistency is measured beside other scores; no PyTorch is needed to know it."""

from dataclasses import dataclass, fields
from pathlib import Path

from jobs.console.settings import require_settings, setting, setting_of
from sdcnet.errors import MotionError
from sdcnet.motion.registry import ESTIMATORS, PREDICTORS, MotionSettings

NUM_BEFORE, NUM_AFTER = 5, 0
PUBLISHED_BEFORE, PUBLISHED_AFTER = 19, 10


@dataclass(frozen=True, kw_only=True)
class TemporalSettings:
    """Which frames make a clip, along which motion their labels are carried, and in which form of the measure."""

    is_measured: bool = setting(
        False, "Measure temporal consistency too, on the frames around the annotated ones.", option="temporal"
    )
    before: int | None = setting(
        None,
        "--temporal: so many frames before each annotated one, as far as they are there.",
        least=0,
        otherwise=f"{NUM_BEFORE}; {PUBLISHED_BEFORE} with --as-published",
    )
    after: int | None = setting(
        None,
        "--temporal: so many frames after it.",
        least=0,
        otherwise=f"{NUM_AFTER}; {PUBLISHED_AFTER} with --as-published",
    )
    as_published: bool = setting(
        False,
        "--temporal: the released program's formula, defects included, on those of its 108 Cityscapes clips that are "
        "there.",
    )
    motion: str = setting_of(
        MotionSettings,
        "name",
        help=f"--temporal: the estimator of motion; {' and '.join(PREDICTORS)} cannot serve here.",
        option="",
    )
    flownet2_weights: Path | None = setting_of(
        MotionSettings, "flownet2_weights", help="flownet2: the published file; it needs it.", otherwise=""
    )
    raft_weights: Path | None = setting_of(MotionSettings, "raft_weights")
    transcode: str | None = setting_of(MotionSettings, "transcode", otherwise="codec needs it here")

    def __post_init__(self) -> None:
        """Raises: ValueError for settings that make no sense."""
        require_settings(self)
        if not self.is_measured:
            for each in fields(self):
                if getattr(self, each.name) != each.default:
                    option = each.name.replace("_", "-")
                    raise ValueError(f"--{option} is of the temporal consistency; add --temporal, or leave it out")
        if self.as_published and (self.before, self.after) != (None, None):
            raise ValueError(
                f"--as-published takes {PUBLISHED_BEFORE} frames before the annotated one and {PUBLISHED_AFTER} after "
                "it; leave out --before and --after"
            )
        if self.num_before + self.num_after == 0:
            raise ValueError("consistency in time needs two frames or more; choose --before or --after 1 or more")
        if self.motion in PREDICTORS:
            raise ValueError(
                f"motion '{self.motion}' is made of two frames before; choose another, such as --motion dis"
            )
        if self.motion == "codec" and self.transcode is None:
            raise ValueError("motion 'codec' needs vectors for both ways; have them made, with --transcode mpeg4")
        try:
            self.motion_settings()
        except MotionError as error:
            raise ValueError(str(error)) from None

    @property
    def num_before(self) -> int:
        default = PUBLISHED_BEFORE if self.as_published else NUM_BEFORE
        return default if self.before is None else self.before

    @property
    def num_after(self) -> int:
        default = PUBLISHED_AFTER if self.as_published else NUM_AFTER
        return default if self.after is None else self.after

    def motion_settings(self, device: str = "auto", dtype: str = "float32") -> MotionSettings:
        """device, dtype: of the segmentation network; the motion computes there too, if it is one.

        Raises: MotionError for settings that the motion does not have.
        """
        where = {"device": device, "dtype": dtype} if ESTIMATORS[self.motion].is_network else {}
        return MotionSettings(
            name=self.motion,
            flownet2_weights=self.flownet2_weights,
            raft_weights=self.raft_weights,
            transcode=self.transcode,
            **where,  # type: ignore[arg-type]
        )
