"""The command `segtrain predict`."""

from dataclasses import MISSING, dataclass
from pathlib import Path

import click

from jobs.console.options import command, config_file, configured
from jobs.console.progress import Progress
from jobs.console.settings import setting, setting_of
from jobs.console.values import counted
from propagate.cli.places import layout_of, refuse_beside_source
from propagate.datasets.base import DatasetOptions
from segtrain.cli.network import NetworkConfig, say_left_out
from segtrain.inference_settings import Inference
from segtrain.prediction.views import KINDS


@dataclass(frozen=True, kw_only=True)
class PredictConfig(NetworkConfig):
    """Which network segments what, and what is written of it."""

    inference: Inference
    sources: tuple[Path, ...] = setting((), "Folders, images or videos.", argument="[SOURCE]...")
    root: Path = setting_of(
        DatasetOptions,
        "root",
        help="Where a data set lies, whose annotated images are taken where there is no SOURCE.",
    )
    out: Path = setting(MISSING, "The folder for what is found.")
    kinds: tuple[str, ...] = setting(
        ("pred",),
        "pred: label ids; rgb: colours; compose: these over the image; diff: what is wrong, with --root.",
        choices=KINDS,
    )
    video: Path | None = setting(None, "Write a video too, colours over the frames of SOURCE, one video: NAME.mp4.")
    beside: bool = setting(False, "Show the frames beside it in --video.")
    submission: Path | None = setting(None, "Write the zip file for the Cityscapes benchmark too.")

    def __post_init__(self) -> None:
        if self.sources and "diff" in self.kinds:
            raise ValueError("--kinds diff needs the truth of a data set: give --root instead of SOURCE")
        if self.video is not None and (len(self.sources) != 1 or self.video.suffix != ".mp4"):
            raise ValueError(f"--video {self.video}: it is made of one SOURCE, a video, and its name ends in .mp4")
        if self.beside and self.video is None:
            raise ValueError("--beside is of --video; give that, or leave it out")
        if self.submission is not None and self.submission.suffix != ".zip":
            raise ValueError(
                f"--submission {self.submission}: the benchmark takes a zip file, give a name that ends so"
            )


@command()
@configured(config=PredictConfig)
@config_file
def predict(config: PredictConfig) -> None:
    """Segment the images of folders, the frames of videos, or a data set, into OUT/KIND/NAME.png.

    SOURCE is a folder, an image or a video, whose frames are named by their numbers. OUT/KIND must be new or empty.

    \b
    segtrain predict run/best.safetensors drive.mp4 --out drive --kinds pred,compose --video seen.mp4
    segtrain predict run/best.safetensors --root street --split val --out street_val --kinds rgb,diff
    segtrain predict run/best.safetensors leftImg8bit/test --out test --submission test.zip
    """
    from jobs.training.runtime import open_runtime
    from segtrain.data.labelled_frames import open_labelled_frames
    from segtrain.prediction.predict import predict as predict_images
    from segtrain.prediction.sources import pictures_of_dataset, pictures_of_files, rate_of
    from segtrain.prediction.video import VideoOutput
    from segtrain.trained import open_trained

    table = config.class_table()
    if config.sources:
        refuse_beside_source("root", "dataset", "split", "layout")
        pictures = pictures_of_files(config.sources)
    else:
        dataset = layout_of(config.data, config.dataset, instead="SOURCE")
        samples = open_labelled_frames(dataset, config.data, classes=table)
        table, pictures = samples.classes, pictures_of_dataset(samples)
    runtime = open_runtime(config.device, config.dtype)
    trained = open_trained(config.weights, runtime, architecture=config.architecture, classes=table)
    with Progress("images", len(pictures)) as progress:
        summary = predict_images(
            trained,
            pictures,
            config.out,
            config.inference,
            runtime,
            kinds=config.kinds,
            submission=config.submission,
            video=None
            if config.video is None
            else VideoOutput(config.video, rate_of(config.sources[0]), config.beside),
            on_progress=progress.advance,
        )
    images = counted(summary.images, "image")
    click.echo(f"{config.out}: {images} segmented, {counted(summary.files, 'file')} written")
    if config.video is not None:
        click.echo(f"{config.video}: a video of {counted(summary.images, 'frame')}")
    if config.submission is not None:
        click.echo(f"{config.submission}: the label ids of {images}")
    if summary.failures:
        say_left_out(summary.failures)
        raise SystemExit(1)
