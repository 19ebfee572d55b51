"""How temporal consistency is measured beside other scores; no PyTorch is needed to know it."""

from dataclasses import dataclass, field, fields

from jobs.console.settings import require_settings, setting
from sdcnet.errors import MotionError
from segtrain.data.motion_settings import PairMotionSettings

NUM_BEFORE, NUM_AFTER = 5, 0
PUBLISHED_BEFORE, PUBLISHED_AFTER = 19, 10


@dataclass(frozen=True, kw_only=True)
class TemporalSettings:
    """Which frames make a clip, along which motion their labels are carried, and in which form of the measure."""

    is_measured: bool = setting(
        False,
        "Measure temporal consistency too, along the motion of the frames around annotated ones.",
        option="temporal",
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
    pairs: PairMotionSettings = field(default_factory=PairMotionSettings)

    def __post_init__(self) -> None:
        """Raises: ValueError for settings that make no sense."""
        require_settings(self)
        given = [*_given(self), *_given(self.pairs)]
        if given and not self.is_measured:
            raise ValueError(f"--{given[0]} is of the temporal consistency; add --temporal, or leave it out")
        if self.as_published and (self.before, self.after) != (None, None):
            raise ValueError(
                f"--as-published takes {PUBLISHED_BEFORE} frames before the annotated one and {PUBLISHED_AFTER} after "
                "it; leave out --before and --after"
            )
        if self.num_before + self.num_after == 0:
            raise ValueError("consistency in time needs two frames or more; choose --before or --after 1 or more")
        try:
            self.pairs.motion_settings(device="auto", dtype="float32")
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


def _given(settings: TemporalSettings | PairMotionSettings) -> list[str]:
    """The options of the settings that are not as they are by default."""
    return [
        each.name.replace("_", "-")
        for each in fields(settings)
        if each.name != "pairs" and getattr(settings, each.name) != each.default
    ]
