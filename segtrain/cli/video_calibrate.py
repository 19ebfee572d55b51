"""The command `segtrain video calibrate`."""

from dataclasses import MISSING, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console.options import command, config_file, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting, setting_of
from jobs.console.values import print_json
from segtrain.cli.network import WeightsConfig
from segtrain.video.registry import SchemeOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from segtrain.video.stepper import Seen

SCHEME = "adaptive-clockwork"


@dataclass(frozen=True, kw_only=True)
class VideoCalibrateConfig(WeightsConfig):
    """Which share of a video's frames an adaptive clock is to compute in full."""

    source: Path = setting(MISSING, "A video, a folder of frames, or -, a video that is sent.", argument="SOURCE")
    share: float = setting(0.5, "Of frames that are to be computed in full.", least=0, most=1)
    frames: int = setting(
        300, "Look at so many of the first frames; what is compared of each stays in memory.", least=2
    )
    signal: str = setting_of(SchemeOptions, "signal")
    cuts: tuple[str, ...] = setting_of(SchemeOptions, "cuts")
    longest_wait: int | None = setting_of(SchemeOptions, "longest_wait")


@command("calibrate")
@configured(config=VideoCalibrateConfig)
@config_file
@json_option
def video_calibrate(config: VideoCalibrateConfig, as_json: bool) -> None:
    """Find the --threshold at which adaptive-clockwork computes a share of a video's frames in full.

    No labels are needed: the early stages see the frames once. Fixed clocks of the same share cost as much, and may be
    better: compare them with `segtrain video evaluate`.

    \b
    segtrain video calibrate run/best.safetensors drive.mp4 --share 0.5
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
    still = open_estimator(MotionSettings(name="none"))
    frames = islice(open_source(config.source), config.frames)
    with Progress("frames", config.frames) as progress:
        try:
            found = calibrate(
                trained.network,
                _told(observed(frames, still, runtime, Stopwatch()), progress),
                config.share,
                signal=config.signal,
                cuts=config.cuts,
                longest_wait=config.longest_wait,
            )
        except ValueError as error:
            raise InferenceError(f"{config.source}: {error}") from None
    if as_json:
        print_json({"signal": config.signal, **found._asdict()})
    else:
        others = f" --cuts {','.join(config.cuts)}" if config.cuts else ""
        others += "" if config.longest_wait is None else f" --longest-wait {config.longest_wait}"
        click.echo(f"--scheme {SCHEME} --signal {config.signal}{others} --threshold {found.threshold}")
        click.echo(f"{found.share:.1%} of {found.num_frames} frames in full", err=True)


def _told(frames: "Iterable[Seen]", progress: Progress) -> "Iterator[Seen]":
    """The frames, each of which is progress."""
    for seen in frames:
        yield seen
        progress.advance(1)
