"""The schemes that there are, by the names that command lines know, and the settings of the chosen one.

`segtrain.video.stepper` says what a stepper is. A new scheme is a class in a file of its own, and a line below.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

from jobs.console.settings import setting
from jobs.registry import Registry

if TYPE_CHECKING:
    from segtrain.models.network import SegmentationNetwork
    from segtrain.video.signals import Signal
    from segtrain.video.stepper import Stepper


class Scheme(Protocol):
    """A class of steppers. takes: the settings, beside the name, that mean something to it."""

    takes: tuple[str, ...]

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
CHAINS = ("recursive", "composed")

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
class SchemeSettings:
    """A scheme, by its name in SCHEMES, and what some of them need besides.

    chain: what is carried from the previous frame is carried again (recursive), or the flows are composed to one that
    leads to the key frame.
    """

    name: str = setting("warp-features", "How frames of a video are segmented.", choices=SCHEMES, option="scheme")
    interval: int = setting(12, "From one key frame to the next.", least=1)
    chain: str = setting(
        "recursive", "Carry from the previous frame, or by composed motion from the key frame.", choices=CHAINS
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

    def __post_init__(self) -> None:
        """Raises: ValueError for an unknown name, and for settings that the scheme of that name does not have."""
        takes = SCHEMES[self.name].takes
        for field in fields(self):
            if getattr(self, field.name) != field.default and field.name not in ("name", *takes):
                raise ValueError(f"scheme '{self.name}' has no setting {field.name}; leave it out")


def open_stepper(network: "SegmentationNetwork", settings: SchemeSettings) -> "Stepper":
    """A stepper for one video. network: in evaluation mode, as `Runtime.prepare` leaves it."""
    return SCHEMES[settings.name].open(network, settings)
