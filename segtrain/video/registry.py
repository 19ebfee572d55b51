"""The schemes that there are, by the names that command lines know, and the settings of the chosen one.

`segtrain.video.stepper` says what a stepper is. A new scheme is a class in a file of its own, and a line below.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

from jobs.console.settings import setting
from jobs.registry import Registry
from segtrain.errors import InferenceError
from segtrain.video.clocks import Fixed

if TYPE_CHECKING:
    from segtrain.models.network import SegmentationNetwork
    from segtrain.video.signals import Signal
    from segtrain.video.stepper import Stepper


class Scheme(Protocol):
    """A class of steppers.

    takes: the settings, beside the name, that mean something to it. carries: whether it asks for the motion of frames.
    """

    takes: tuple[str, ...]
    carries: bool

    def open(self, network: "SegmentationNetwork", settings: "SchemeSettings") -> "Stepper":
        """A stepper of these settings on a network that is ready for inference."""
        ...


SCHEMES: Registry[Scheme] = Registry(
    "scheme",
    {
        "per-frame": "segtrain.video.per_frame:PerFrame",
        "copy": "segtrain.video.keyframe:Copy",
        "warp-labels": "segtrain.video.keyframe:WarpLabels",
        "warp-scores": "segtrain.video.keyframe:WarpScores",
        "warp-features": "segtrain.video.keyframe:WarpFeatures",
        "clockwork": "segtrain.video.clockwork:FixedClockwork",
        "adaptive-clockwork": "segtrain.video.clockwork:AdaptiveClockwork",
        "pipelined-clockwork": "segtrain.video.pipeline:PipelinedClockwork",
    },
)
CHAINS = ("composed", "recursive")

# What an adaptive clock compares of two frames; padded: with the border around the image, as published.
SIGNALS: "Registry[Signal]" = Registry(
    "signal",
    {
        "feature": "segtrain.video.signals:FEATURE",
        "pixels": "segtrain.video.signals:PIXELS",
        "argmax": "segtrain.video.signals:ARGMAX",
        "padded-argmax": "segtrain.video.signals:PADDED_ARGMAX",
    },
)


@dataclass(frozen=True, kw_only=True)
class SchemeOptions:
    """What some schemes need besides their name.

    chain: the motion of the frames since the key frame is composed, and what is held is carried once; or what was
    carried to the previous frame is carried again (recursive).
    """

    interval: int = setting(12, "From one key frame to the next.", least=1)
    chain: str = setting(
        "composed", "Carry by composed motion from the key frame, or from frame to frame.", choices=CHAINS
    )
    cuts: tuple[str, ...] = setting(
        (), "Stages of the network after which those of a clock end.", otherwise="the network's own"
    )
    rates: tuple[int, ...] = setting((), "Of each stage, in frames.", otherwise="1, but 2 for the last")
    threshold: float = setting(0.25, "Compute the last stage where a frame differs by as much.", least=0)
    signal: str = setting("feature", "What is compared of frames.", choices=SIGNALS)
    longest_wait: int | None = setting(
        None, "Frames after which the last stage is computed in any case.", otherwise="any number", least=1
    )
    pipeline: int = setting(2, "Steps that work at the same time.", least=1)

    def changed(self) -> list[str]:
        """The names of those that are not the defaults."""
        return [field.name for field in fields(SchemeOptions) if getattr(self, field.name) != field.default]


@dataclass(frozen=True, kw_only=True)
class SchemeSettings(SchemeOptions):
    """A scheme, by its name in SCHEMES, and its options."""

    name: str = setting("warp-features", "How frames of a video are segmented.", choices=SCHEMES, option="scheme")

    def __post_init__(self) -> None:
        """Raises: ValueError for an unknown name, and for options that the scheme of that name does not have."""
        for option in self.changed():
            if option not in SCHEMES[self.name].takes:
                raise ValueError(f"scheme '{self.name}' has no --{option.replace('_', '-')}; leave it out")
        if self.rates:
            Fixed(self.rates)  # says what makes no sense

    @property
    def title(self) -> str:
        """The name, its interval if it has one, and the options that are not the defaults."""
        told = [each for each in SCHEMES[self.name].takes if each == "interval" or each in self.changed()]
        return " ".join([self.name, *(f"{option}={_told(getattr(self, option))}" for option in told)])


def settings_of_each(names: Sequence[str], options: SchemeOptions) -> list[SchemeSettings]:
    """Several schemes, each with those of the options that it takes.

    Raises: ValueError for an unknown name, and for an option that is given and that none of them takes.
    """
    taken = {name: SCHEMES[name].takes for name in names}
    for option in options.changed():
        if not any(option in takes for takes in taken.values()):
            raise ValueError(f"none of the schemes {', '.join(names)} has --{option.replace('_', '-')}; leave it out")
    return [
        SchemeSettings(name=name, **{option: getattr(options, option) for option in takes})
        for name, takes in taken.items()
    ]


def open_stepper(network: "SegmentationNetwork", settings: SchemeSettings) -> "Stepper":
    """A stepper for one video. network: in evaluation mode, as `Runtime.prepare` leaves it.

    Raises: InferenceError for settings of which the network can make nothing.
    """
    try:
        return SCHEMES[settings.name].open(network, settings)
    except ValueError as error:
        raise InferenceError(f"scheme '{settings.name}': {error}") from None


def _told(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
