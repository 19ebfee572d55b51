"""The command `segtrain video predict`."""

from dataclasses import MISSING, dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console.exit_codes import interrupted
from jobs.console.options import command, config_file, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting
from jobs.console.tables import Table
from jobs.console.values import counted, print_json
from jobs.signals import ending
from segtrain.cli.video_network import VideoNetworkConfig
from segtrain.prediction.views import KINDS
from segtrain.video.registry import SchemeSettings

if TYPE_CHECKING:
    from segtrain.video.tally import Tally


@dataclass(frozen=True, kw_only=True)
class VideoPredictConfig(VideoNetworkConfig):
    """Which network segments which video, by which scheme, and what is written of it."""

    scheme: SchemeSettings
    source: Path = setting(MISSING, "A video, a folder of frames, or -, a video that is sent.", argument="SOURCE")
    out: Path = setting(MISSING, "The folder for what is found.")
    kinds: tuple[str, ...] = setting(
        ("pred",),
        "pred: label ids; rgb: colours; compose: these over the frame.",
        choices=tuple(kind for kind in KINDS if kind != "diff"),
    )
    video: Path | None = setting(None, "Write a video too, colours over the frames: NAME.mp4.")
    beside: bool = setting(False, "Show the frames beside it in --video.")
    live: bool = setting(
        False, "Take frames when they are due, by their time stamps, and drop those that are too many."
    )

    def __post_init__(self) -> None:
        if self.video is not None and self.video.suffix != ".mp4":
            raise ValueError(f"--video {self.video}: give a name that ends in .mp4")
        if self.beside and self.video is None:
            raise ValueError("--beside is of --video; give that, or leave it out")
        self.require_use((self.scheme.name,))


@command("predict")
@configured(config=VideoPredictConfig)
@config_file
@json_option
def video_predict(config: VideoPredictConfig, as_json: bool) -> None:
    """Segment the frames of a video, in order, into OUT/KIND/NAME.png, by a scheme that need not compute each in full.

    SOURCE is a video, whose frames are named by their numbers, a folder of frames, or -, standard input. It is read
    once, in constant memory; Ctrl-C ends it, and what is written is kept. OUT/KIND must be new or empty.

    \b
    segtrain video predict run/best.safetensors drive.mp4 --scheme warp-features --interval 12 --out drive
    segtrain video predict run/best.safetensors frames/ --scheme copy --out drive --kinds none --video seen.mp4
    segtrain video predict run/best.safetensors - --live --out camera --kinds compose < camera.ts
    """
    from jobs.training.runtime import open_runtime
    from segtrain.prediction.video import VideoOutput
    from segtrain.trained import open_trained
    from segtrain.video.predict import predict_video
    from segtrain.video.sources import open_source
    from segtrain.video.tiled import open_stepper_of

    estimator = config.open_motion()
    runtime = open_runtime(config.device, config.dtype)
    trained = open_trained(config.weights, runtime, architecture=config.architecture, classes=config.class_table())
    motion = config.motion_settings()
    source = open_source(
        config.source,
        with_vectors=motion.reads_vectors,
        transcodes=motion.transcode is not None and not config.live,  # frames that are dropped are encoded in vain
    )
    with (
        Progress("frames", source.num_frames or 0) as progress,
        interrupted("Interrupted; what was written is whole."),
        ending(source.stop),
    ):
        tally = predict_video(
            trained,
            source,
            open_stepper_of(trained.network, config.scheme, config.tiling),
            estimator,
            runtime,
            config.out,
            kinds=config.kinds,
            video=None if config.video is None else VideoOutput(config.video, source.rate, config.beside),
            is_live=config.live,
            on_progress=progress.advance,
        )
        if as_json:
            print_json(tally.to_json())
        else:
            _say(config, tally)
    if tally.lost:
        raise SystemExit(1)


def _say(config: VideoPredictConfig, tally: "Tally") -> None:
    click.echo(
        f"{config.out}: {counted(tally.frames, 'frame')} segmented, {tally.full} in full; "
        f"{counted(tally.files, 'file')} written"
    )
    for path in tally.videos:
        click.echo(f"{path}: a video")
    click.echo("ran: " + ", ".join(f"{part} {times}" for part, times in tally.parts.items()))
    rows: list[list[str]] = []
    medians: dict[str, float] = {}
    for name, is_full, frames in (("in full", True, tally.full), ("others", False, tally.frames - tally.full)):
        if frames:
            medians = tally.milliseconds(is_full)
            rows.append([name, str(frames), *("-" if isnan(value) else f"{value:.1f}" for value in medians.values())])
    click.echo(Table(["median ms", "frames", *medians], rows).text())
    if config.live:
        shares = ", ".join(f"{percent} % within {value:.0f} ms" for percent, value in tally.latencies().items())
        click.echo(f"latency: {shares}; {counted(tally.dropped, 'frame')} dropped")
    if tally.lost:
        click.echo(f"lost: {counted(tally.lost, 'frame')}; the first: {tally.told[0]}", err=True)
