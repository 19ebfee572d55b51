"""The command `sdcnet`: parse -> configuration -> one library call -> print.

A command imports what it needs when it is called: `--help` must not wait for torch.

Exit codes: 0 all is well; 1 work failed; 2 the command line makes no sense; 130 Ctrl-C.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.console.commands import Commands
from jobs.console.names import Name
from jobs.console.progress import Progress
from jobs.console.values import finite
from jobs.errors import JobError
from jobs.training.devices import DEVICES, DTYPES
from sdcnet.cli.fit import fit
from sdcnet.errors import SdcnetError
from sdcnet.motion.registry import ESTIMATORS, INPUT_FLOWS, MotionSettings, open_estimator

if TYPE_CHECKING:
    from sdcnet.networks.checkpoints import Summary

PATH = click.Path(path_type=Path)
ARCHITECTURES = ("FlowNet2", "SDCNet2D", "SDCNet2DRecon")  # sdcnet.networks.checkpoints has them too, but needs torch


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")


@click.group(
    cls=Commands,
    failures=(SdcnetError, JobError),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="label-propagation", prog_name="sdcnet")
def main() -> None:
    """Estimate, score and learn how video frames move.

    \b
    sdcnet convert sdc_cityscapes_vrec.pth.tar recon.safetensors
    sdcnet inspect recon.safetensors
    sdcnet evaluate street --motion sdcnet --sdcnet-weights recon.safetensors --input-flow dis
    sdcnet fit street/leftImg8bit_sequence --out run
    """


main.add_command(fit)


@main.command()
@click.argument("source", metavar="IN", type=PATH)
@click.argument("destination", metavar="OUT", type=PATH)
@click.option(
    "--architecture",
    type=Name(ARCHITECTURES),
    help="Which network IN holds, where it does not say so, or which one is wanted, where it holds two.",
)
def convert(source: Path, destination: Path, architecture: str | None) -> None:
    """Write the network of a published file of weights, IN, as a safetensors file, OUT.

    OUT says what it holds and how frames must be prepared for it. IN is read without running any code in it.

    \b
    sdcnet convert sdc_cityscapes_vrec.pth.tar recon.safetensors
    sdcnet convert FlowNet2_checkpoint.pth.tar flownet2.safetensors
    """
    from sdcnet.networks.checkpoints import convert_checkpoint, inspect_checkpoint

    if source.exists() and destination.exists() and source.samefile(destination):
        raise click.UsageError("IN and OUT are the same file; give OUT another name")
    convert_checkpoint(source, destination, architecture)
    click.echo(f"{destination}: {_holds(inspect_checkpoint(destination))}", err=True)


@main.command("inspect")
@click.argument("file", type=PATH)
@_json_option
def inspect_command(file: Path, as_json: bool) -> None:
    """Say what a file of weights holds, whoever wrote it.

    \b
    sdcnet inspect recon.safetensors
    sdcnet inspect sdc_cityscapes_vrec.pth.tar --json
    """
    from sdcnet.networks.checkpoints import inspect_checkpoint

    summary = inspect_checkpoint(file)
    if as_json:
        _print_json(asdict(summary))
        return
    click.echo(f"{file}: {_holds(summary)}")
    for part in ("settings", "preprocessing", "about"):
        for name, value in getattr(summary, part).items():
            click.echo(f"  {part:<15}{name}: {value}")


def _holds(summary: "Summary") -> str:
    networks = " and ".join(summary.networks) or "no network that this program knows"
    return f"{networks}; {summary.num_values:,} values in {summary.num_tensors} tensors of {', '.join(summary.dtypes)}"


def _print_json(values: dict[str, Any]) -> None:
    click.echo(json.dumps(finite(values), ensure_ascii=False))


@main.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=PATH)
@click.option("--motion", type=Name(ESTIMATORS), default="dis", show_default=True)
@click.option("--sdcnet-weights", type=PATH, help="sdcnet, sdcnet-predict: the published file, or one of `sdcnet fit`.")
@click.option("--flownet2-weights", type=PATH, help="flownet2, and where it is the input flow: the published file.")
@click.option(
    "--input-flow",
    type=Name(INPUT_FLOWS),
    help="What the video predictor refines.  [default: what it was trained with; flownet2 for published weights]",
)
@click.option("--device", type=Name(DEVICES), default="auto", show_default=True, help="Where networks compute.")
@click.option("--dtype", type=Name(DTYPES), default="float32", show_default=True, help="In what they compute.")
@click.option("--compile", is_flag=True, help="Compile them first: minutes, which pay off on many frames.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N frames of each source.")
@_json_option
def evaluate(
    sources: tuple[Path, ...],
    motion: str,
    sdcnet_weights: Path | None,
    flownet2_weights: Path | None,
    input_flow: str | None,
    device: str,
    dtype: str,
    compile: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Score a motion estimator on the frames of folders and videos.

    Each frame is predicted by warping the one before it: PSNR (at most 60 dB a frame), SSIM and the mean absolute error
    (L1, in levels of 255), as means over frames; of all pixels, then of the share that comes from inside the frame
    before (in).

    Where a folder holds true flow (of `propagate synth`, KITTI or FlyingChairs), also the end-point error (EPE) and the
    share of outliers (Fl), which err by more than 3 px and 5 %, over all pixels; and over those that are not occluded
    (noc), where the truth says which. The flow of KITTI and FlyingChairs leads to the next frame: there, the first of
    two frames is predicted from the second.

    \b
    sdcnet evaluate drive.mp4 frames/ --motion dis
    sdcnet evaluate street --motion sdcnet --sdcnet-weights recon.safetensors --input-flow dis --json
    """
    import torch

    from sdcnet.evaluate import evaluate as evaluate_sources

    settings = MotionSettings(
        name=motion,
        sdcnet_weights=sdcnet_weights,
        flownet2_weights=flownet2_weights,
        input_flow=input_flow,
        device=device,
        dtype=dtype,
        compile=compile,
    )
    estimator = open_estimator(settings)
    if not settings.is_network:
        torch.set_num_threads(1)  # more gain nothing here, and lose far more where the cores are busy
    with Progress("frames") as progress:
        result = evaluate_sources(
            sources, estimator, limit=limit, on_plan=progress.expect, on_progress=progress.advance
        )
    if as_json:
        _print_json(result.to_json())
    else:
        click.echo(result.table())
    for note in result.notes():
        click.echo(note, err=True)
    if result.failures:
        raise SystemExit(1)
