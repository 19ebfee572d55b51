"""The command `sdcnet fit`."""

import os
from pathlib import Path
from typing import Any

import click

from jobs.console.names import Name
from jobs.console.progress import Progress, ShownAdvance
from jobs.training.devices import DEVICES, DTYPES
from sdcnet.fit.schedules import SCHEDULES
from sdcnet.motion.registry import INPUT_FLOWS, PREDICTORS

PATH = click.Path(path_type=Path)


class Size(click.ParamType):
    """HxW, in pixels."""

    name = "HxW"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        height, _, width = str(value).partition("x")
        if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
            self.fail(f"'{value}' is not HxW, as in 256x320", param, ctx)
        return int(height), int(width)


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=PATH)
@click.option("--out", required=True, type=PATH, help="The run's folder: a new one, or one to go on with.")
@click.option("--val", "validation", multiple=True, type=PATH, help="Frames to score on, not to train on; repeatable.")
@click.option("--architecture", type=Name(PREDICTORS.values()), default="SDCNet2DRecon", show_default=True)
@click.option("--width", type=float, default=1.0, show_default=True, help="Scales the channels; 1 as published.")
@click.option("--history", type=click.IntRange(min=1), default=2, show_default=True, help="Frames before the target.")
@click.option("--input-flow", type=Name(INPUT_FLOWS), default="dis", show_default=True)
@click.option("--flownet2-weights", type=PATH, help="The published file, or one converted from it.")
@click.option("--weights", type=PATH, help="A predictor to begin with.  [default: one that returns its input flow]")
@click.option("--steps", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Of all workers together.")
@click.option("--crop", type=Size(), default="256x320", show_default=True, help="Height x width.")
@click.option("--learning-rate", type=float, default=1e-4, show_default=True, help="The highest.")
@click.option("--schedule", type=Name(SCHEDULES), default="cosine", show_default=True)
@click.option("--dtype", type=Name(DTYPES), default="float32", show_default=True)
@click.option("--device", type=Name(DEVICES), default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--loader-workers",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Processes of each worker that read ahead.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Several: by Ray Train.")
@click.option("--address", help="A running Ray cluster, as host:port.  [default: this machine alone]")
@click.option("--save-every", type=click.IntRange(min=1), default=1000, show_default=True, help="Steps.")
@click.option("--validate-every", type=click.IntRange(min=1), default=1000, show_default=True, help="Steps.")
def fit(**options: Any) -> None:
    """Train a video predictor on frames alone: folders of images, or videos.

    It learns to refine its input flow so that each frame, warped, becomes the next. Run it again to go on with an
    interrupted training. RUN/predictor.safetensors is for --motion sdcnet; RUN also holds what TensorBoard shows.

    \b
    sdcnet fit street/leftImg8bit_sequence/train --val street/leftImg8bit_sequence/val --out run
    sdcnet fit *.mp4 --out small --width 0.25 --crop 128x256 --batch-size 4 --learning-rate 1e-3 --steps 3000
    """
    # Read when torch is imported: threads that wait must not take the cores from the processes that read samples.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sdcnet.fit.config import FitConfig
    from sdcnet.fit.training import fit as train

    renamed = {"workers": "num_workers"}
    try:
        config = FitConfig(**{renamed.get(name, name): value for name, value in options.items()})
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with Progress("steps") as progress:
        summary = train(config, ShownAdvance(progress))
    click.echo(f"{config.out}: {summary.steps} steps done, {summary.seconds:.0f} s in this run")
    if summary.scores is not None:
        click.echo(f"{config.out}: {summary.scores}")
