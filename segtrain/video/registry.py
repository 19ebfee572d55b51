"""The schemes that there are, by the names that command lines know, and the settings of the chosen one.

`segtrain.video.stepper` says what a stepper is. A new scheme is a class in a file of its own, and a line below. One
that is learnt is chosen by the file that holds what was learnt: `segtrain.video.learnt`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jobs.console.settings import setting
from jobs.registry import Registry
from segtrain.errors import InferenceError
from segtrain.video.clocks import Fixed

if TYPE_CHECKING:
    from segtrain.models.network import SegmentationNetwork
    from segtrain.video.learnt import Learnt
    from segtrain.video.signals import Signal
    from segtrain.video.stepper import Stepper


class OptionsTaken(Protocol):
    """takes: the settings, beside the name, that mean something to a scheme. carries: whether it asks for the motion of
    frames.
    """

    takes: tuple[str, ...]
    carries: bool


class Scheme(OptionsTaken, Protocol):
    """A class of steppers."""

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
# What is learnt of a scheme, by the name that its files say.
LEARNT: "Registry[type[Learnt]]" = Registry(
    "learnt scheme", {"twnet": "segtrain.video.twnet:TWNet", "netwarp": "segtrain.video.netwarp:NetWarp"}
)
ENDING = ".safetensors"
CHAINS = ("composed", "recursive")
GATES = ("none", "known", "occlusion")
FORMS = ("released", "paper")  # of NetWarp's FlowCNN
RESIDUALS = ("absolute", "signed", "none")  # that TWNet's attention sees

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


NAMES = f"{', '.join(SCHEMES)}, or a file of `segtrain video fit`"


def scheme_of(name: str) -> OptionsTaken:
    """The scheme of a name, or of what a file says was learnt.

    Raises: UnknownNameError, a ValueError; CheckpointError for a file that cannot be used.
    """
    if name in LEARNT:
        raise ValueError(
            f"scheme '{name}' is learnt: give the file that `segtrain video fit --scheme {name}` has written, as "
            f"--scheme RUN/best{ENDING}"
        )
    if name not in SCHEMES and Path(name).is_dir():
        file = Path(name) / f"best{ENDING}"
        raise ValueError(f"scheme '{name}' is a folder; of a run of `segtrain video fit`, give --scheme {file}")
    return SCHEMES[name] if Path(name).suffix != ENDING else LEARNT[_learnt_in(name)]


@dataclass(frozen=True, kw_only=True)
class SchemeOptions:
    """What some schemes need besides their name.

    chain: the motion of the frames since the key frame is composed, and what is held is carried once; or what was
    carried to the previous frame is carried again (recursive). gate: whether what the motion does not know, which a
    codec says of its cells, or in addition what the frame before does not show, by the motion there and back, is filled
    in from what is nearest to it and known, instead of carried.
    """

    interval: int = setting(12, "From one key frame to the next.", least=1)
    chain: str = setting(
        "composed", "Carry by composed motion from the key frame, or from frame to frame.", choices=CHAINS
    )
    gate: str = setting("none", "Do not carry what the motion does not know, or what is occluded.", choices=GATES)
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
    """A scheme, by its name in SCHEMES or the path of what was learnt of it, and its options."""

    name: str = setting("warp-features", f"How frames of a video are segmented: {NAMES}.", option="scheme")

    def __post_init__(self) -> None:
        """Raises: ValueError for an unknown name, and for options that the scheme of that name does not have;
        CheckpointError for a file that cannot be used."""
        scheme = scheme_of(self.name)
        for option in self.changed():
            if option not in scheme.takes:
                raise ValueError(f"scheme '{self.name}' has no --{option.replace('_', '-')}; leave it out")
        if self.rates:
            Fixed(self.rates)  # says what makes no sense

    @property
    def title(self) -> str:
        """The name, or the path without its ending, the interval if it has one, and options that are not defaults."""
        told = [each for each in scheme_of(self.name).takes if each == "interval" or each in self.changed()]
        name = self.name
        if name not in SCHEMES:
            name = f"{_learnt_in(name)} {Path(name).with_suffix('')}"
        return " ".join([name, *(f"{option}={_told(getattr(self, option))}" for option in told)])


def settings_of_each(names: Sequence[str], options: SchemeOptions) -> list[SchemeSettings]:
    """Several schemes, each with those of the options that it takes.

    Raises: ValueError for an unknown name, and for an option that is given and that none of them takes.
    """
    taken = {name: scheme_of(name).takes for name in names}
    for option in options.changed():
        if not any(option in takes for takes in taken.values()):
            raise ValueError(f"none of the schemes {', '.join(names)} has --{option.replace('_', '-')}; leave it out")
    return [
        SchemeSettings(name=name, **{option: getattr(options, option) for option in takes})
        for name, takes in taken.items()
    ]


def open_stepper(network: "SegmentationNetwork", settings: SchemeSettings) -> "Stepper":
    """A stepper for one video. network: in evaluation mode, as `Runtime.prepare` leaves it.

    Raises: InferenceError for settings of which the network can make nothing; CheckpointError, ParameterError for what
    was learnt on another network, or cannot be used.
    """
    return stepper_maker(network, settings)()


def stepper_maker(network: "SegmentationNetwork", settings: SchemeSettings) -> "Callable[[], Stepper]":
    """What makes steppers as `open_stepper` does, of which it raises the errors; what was learnt is read once."""
    from segtrain.video.learnt import open_learnt

    learnt = None if settings.name in SCHEMES else open_learnt(Path(settings.name), network, LEARNT)

    def make() -> "Stepper":
        try:
            if learnt is not None:
                return learnt.stepper(settings.interval)
            return SCHEMES[settings.name].open(network, settings)
        except ValueError as error:
            raise InferenceError(f"scheme '{settings.name}': {error}") from None

    return make


def _told(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _learnt_in(path: str) -> str:
    """The name of what a file says was learnt."""
    from segtrain.video.learnt import describe_learnt

    return describe_learnt(Path(path)).architecture
