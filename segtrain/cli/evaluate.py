"""The commands `segtrain evaluate` and `segtrain predict`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.console.names import Name
from jobs.console.progress import Progress
from jobs.training.devices import DEVICES, DTYPES
from propagate.data.classes import ClassTable, load_classes
from propagate.datasets import DATASETS, DatasetOptions
from sdcnet.cli.fit import Size
from segtrain.models.registry import NETWORKS
from segtrain.prediction.views import KINDS

if TYPE_CHECKING:
    from segtrain.inference import Inference

PATH = click.Path(path_type=Path)


class Scales(click.ParamType):
    """NUMBER,NUMBER…"""

    name = "S,S…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(float(scale) for scale in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is no list of numbers, as 0.5,1,2", param, ctx)


class Kinds(click.ParamType):
    """KIND,KIND…"""

    name = "KIND,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        kinds = tuple(dict.fromkeys(str(value).split(",")))
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            self.fail(f"'{unknown[0]}' is none of {', '.join(KINDS)}", param, ctx)
        return kinds


def _options(*options: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_network_options = _options(
    click.option("--architecture", type=Name(NETWORKS), help="Which network a published file holds; ours say it."),
    click.option("--scales", type=Scales(), default="1", show_default=True, help="Average over these sizes."),
    click.option("--flip", is_flag=True, help="Average over mirror images too."),
    click.option("--window", type=Size(), help="See so much of an image at a time.  [default: all of it]"),
    click.option("--device", type=Name(DEVICES), default="auto", show_default=True),
    click.option("--dtype", type=Name(DTYPES), default="float32", show_default=True),
)
_dataset_options = _options(
    click.option("--dataset", type=Name(DATASETS), default="cityscapes", show_default=True),
    click.option("--split", default="val", show_default=True),
    click.option("--layout", type=PATH, help="The YAML file that describes a `folder` data set."),
    click.option(
        "--classes",
        help="A class table's name or YAML file.  [default: the data set's own, or that of the classes WEIGHTS names]",
    ),
)


@click.command()
@click.argument("weights", type=PATH)
@click.option("--root", required=True, type=PATH, help="Where the data set lies, extracted or as zip files.")
@_dataset_options
@_network_options
@click.option(
    "--band", type=click.IntRange(min=1), default=3, show_default=True, help="Pixels that the trimap IoU looks at."
)
@click.option("--out", type=PATH, help="Write the tables to this file too, as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")
def evaluate(
    weights: Path,
    root: Path,
    dataset: str,
    split: str,
    layout: Path | None,
    classes: str | None,
    architecture: str | None,
    scales: tuple[float, ...],
    flip: bool,
    window: tuple[int, int] | None,
    device: str,
    dtype: str,
    band: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score a network on the annotated images of a data set.

    WEIGHTS is a file of `segtrain fit`, or a published one. Scores are of all images together: mIoU, accuracy, the mean
    of the classes' accuracies, IoU weighted by how often classes occur, IoU near boundaries (trimap); and iIoU, where
    maps of instances lie beside all label maps of Cityscapes.

    \b
    segtrain evaluate run/best.safetensors --root street --split val
    segtrain evaluate cityscapes_best.pth --architecture deepwv3plus --root cityscapes \\
        --window 1024x1024 --scales 0.5,1,2 --flip --out scores.md
    """
    from jobs.training.runtime import open_runtime
    from segtrain.data.labelled_frames import open_labelled_frames
    from segtrain.evaluation.evaluate import evaluate as evaluate_network
    from segtrain.evaluation.folds import require_same_fold
    from segtrain.evaluation.instances import find_instance_maps
    from segtrain.evaluation.report import write_markdown
    from segtrain.trained import open_trained

    if out is not None and not out.absolute().parent.is_dir():
        raise click.UsageError(f"--out {out}: there is no folder {out.parent}")
    inference = _inference(scales, flip, window)
    options = DatasetOptions(root=root, split=split, layout=layout)
    samples = open_labelled_frames(dataset, options, classes=_class_table(classes))
    runtime = open_runtime(device, dtype)
    trained = open_trained(weights, runtime, architecture=architecture, classes=samples.classes)
    require_same_fold(trained.about, dataset, options, samples)
    with Progress("images", len(samples.records)) as progress:
        report = evaluate_network(
            trained.network,
            samples,
            inference,
            runtime,
            band=band,
            instance_maps=find_instance_maps(dataset, options, [record.key for record in samples.records]),
            on_progress=progress.advance,
        )
    click.echo(json.dumps(report.to_dict(), ensure_ascii=False) if as_json else report.markdown())
    if out is not None:
        write_markdown(report, out)
    for failure in report.failures:
        click.echo(f"left out: {failure.reason}", err=True)
    if report.failures:
        raise SystemExit(1)


@click.command()
@click.argument("weights", type=PATH)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1, type=PATH)
@click.option("--root", type=PATH, help="Instead of SOURCE: where a data set lies, whose annotated images are taken.")
@_dataset_options
@click.option("--out", required=True, type=PATH, help="The folder for what is found.")
@click.option(
    "--kinds",
    type=Kinds(),
    default="pred",
    show_default=True,
    help="pred: label ids; rgb: colours; compose: these over the image; diff: what is wrong, with --root.",
)
@click.option("--submission", type=PATH, metavar="FILE.zip", help="Write the file for the Cityscapes benchmark too.")
@_network_options
def predict(
    weights: Path,
    sources: tuple[Path, ...],
    root: Path | None,
    dataset: str,
    split: str,
    layout: Path | None,
    classes: str | None,
    out: Path,
    kinds: tuple[str, ...],
    submission: Path | None,
    architecture: str | None,
    scales: tuple[float, ...],
    flip: bool,
    window: tuple[int, int] | None,
    device: str,
    dtype: str,
) -> None:
    """Segment the images of folders, the frames of videos, or a data set, into OUT/KIND/NAME.png.

    SOURCE is a folder, an image or a video, whose frames are named by their numbers.

    \b
    segtrain predict run/best.safetensors drive.mp4 --out drive --kinds pred,compose
    segtrain predict run/best.safetensors --root street --split val --out street_val --kinds rgb,diff
    segtrain predict run/best.safetensors leftImg8bit/test --out test --submission test.zip
    """
    if bool(sources) == (root is not None):
        raise click.UsageError("give either SOURCE or --root, the one thing or the other")
    if root is None and "diff" in kinds:
        raise click.UsageError("--kinds diff needs the truth of a data set: give --root instead of SOURCE")
    if submission is not None and submission.suffix != ".zip":
        raise click.UsageError(f"--submission {submission}: the benchmark takes a zip file, give a name that ends so")
    inference = _inference(scales, flip, window)
    from jobs.training.runtime import open_runtime
    from segtrain.data.labelled_frames import open_labelled_frames
    from segtrain.prediction.predict import predict as predict_images
    from segtrain.prediction.sources import pictures_of_dataset, pictures_of_files
    from segtrain.trained import open_trained

    table = _class_table(classes)
    if root is None:
        pictures = pictures_of_files(sources)
    else:
        samples = open_labelled_frames(dataset, DatasetOptions(root=root, split=split, layout=layout), classes=table)
        table, pictures = samples.classes, pictures_of_dataset(samples)
    runtime = open_runtime(device, dtype)
    trained = open_trained(weights, runtime, architecture=architecture, classes=table)
    with Progress("images", len(pictures)) as progress:
        summary = predict_images(
            trained,
            pictures,
            out,
            inference,
            runtime,
            kinds=kinds,
            submission=submission,
            on_progress=progress.advance,
        )
    click.echo(f"{out}: {summary.images} images segmented, {summary.files} files written")
    if submission is not None:
        click.echo(f"{submission}: the label ids of {summary.images} images")
    for failure in summary.failures:
        click.echo(f"left out: {failure.reason}", err=True)
    if summary.failures:
        raise SystemExit(1)


def _class_table(name: str | None) -> ClassTable | None:
    return None if name is None else load_classes(name)


def _inference(scales: tuple[float, ...], flip: bool, window: tuple[int, int] | None) -> "Inference":
    from segtrain.inference import Inference

    try:
        return Inference(scales=scales, flip=flip, window=window)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
