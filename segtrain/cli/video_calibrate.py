"""The command `segtrain video calibrate`."""

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console.options import command, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting, setting_of
from jobs.console.values import print_json
from segtrain.cli.network import WeightsConfig
from segtrain.video.registry import SchemeOptions

if TYPE_CHECKING:
    from segtrain.video.stepper import Seen


@dataclass(frozen=True, kw_only=True)
class VideoCalibrateConfig(WeightsConfig):
    """Which network's clock is set, on what."""

    source: Path = setting(MISSING, "A video, or a folder of frames; no labels are needed.", argument="SOURCE")
    share: float = setting(0.5, "Of frames of which the last stage is computed.", most=1)
    signal: str = setting_of(SchemeOptions, "signal")
    cuts: tuple[str, ...] = setting_of(SchemeOptions, "cuts")
    limit: int = setting(200, "Frames to look at; what is compared of them stays in memory.", least=2)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"--share {self.share:g}: give more than 0, and no more than 1")


def _told(frames: Iterable["Seen"], progress: Progress) -> Iterator["Seen"]:
    for frame in frames:
        yield frame
        progress.advance(1)


@command("calibrate")
@configured(config=VideoCalibrateConfig)
@json_option
def video_calibrate(config: VideoCalibrateConfig, as_json: bool) -> None:
    """Find the threshold at which adaptive-clockwork computes a wished share of a video's frames in full.

    It is the largest one at which the share is reached on the first frames of SOURCE. On other video the share is
    another one.

    \b
    segtrain video calibrate run/best.safetensors drive.mp4 --share 0.25
    segtrain video predict run/best.safetensors drive.mp4 --scheme adaptive-clockwork --threshold 0.31 --out drive
    """
    from jobs.timing import Stopwatch
    from jobs.training.runtime import open_runtime
    from sdcnet.motion.registry import MotionSettings, open_estimator
    from segtrain.errors import InferenceError
    from segtrain.trained import open_trained
    from segtrain.video.calibration import calibrate
    from segtrain.video.observations import observed
    from segtrain.video.sources import open_source

    runtime = open_runtime(config.device, config.dtype)
    trained = open_trained(config.weights, runtime, architecture=config.architecture, classes=config.class_table())
    source, nothing = open_source(config.source), open_estimator(MotionSettings(name="none"))
    with Progress("frames", min(config.limit, source.num_frames or config.limit)) as progress:
        frames = observed(islice(source, config.limit), nothing, runtime, Stopwatch())
        try:
            found = calibrate(
                trained.network, _told(frames, progress), config.share, signal=config.signal, cuts=config.cuts
            )
        except ValueError as error:
            raise InferenceError(f"{config.source}: {error}") from None
    if as_json:
        print_json(found._asdict())
    else:
        click.echo(f"--threshold {found.threshold}: {found.share:.1%} of {found.num_frames} frames in full")
