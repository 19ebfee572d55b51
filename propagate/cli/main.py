"""The command `propagate`: parse -> configuration -> one library call -> print.

A command imports what it needs when it is called: `info` must not wait for torch.

Exit codes: 0 all is well; 1 work failed, or is finished with failures; 2 the command line makes no sense; 130 Ctrl-C.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.console.commands import Commands
from jobs.console.names import Name
from jobs.console.progress import Progress
from jobs.errors import JobError
from jobs.pool.run import ENGINES
from jobs.training.devices import DEVICES, DTYPES
from propagate import __version__
from propagate.carry.sample_settings import HISTORIES, RESAMPLINGS, SampleSettings
from propagate.data.sample import PAIRINGS
from propagate.datasets import DATASETS, DatasetOptions, open_dataset
from propagate.errors import PropagateError
from propagate.export import FORMATS
from propagate.shards.manifest import load_manifest
from propagate.shards.schema import IMAGE_FORMS
from sdcnet.errors import SdcnetError
from sdcnet.motion.registry import ESTIMATORS, INPUT_FLOWS, MotionSettings

if TYPE_CHECKING:
    from propagate.job.run import RunSummary

PATH = click.Path(path_type=Path)


class _Size(click.ParamType):
    """HxW, in pixels."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        height, _, width = str(value).partition("x")
        if not (height.isdigit() and width.isdigit()):
            self.fail(f"'{value}' is not HxW, as in 256x512", param, ctx)
        return int(height), int(width)


def _dataset_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.option(
                "--root", required=True, type=PATH, help="Where the data set lies, extracted or as zip files."
            ),
            click.option("--dataset", type=Name(DATASETS), default="cityscapes", show_default=True),
            click.option(
                "--layout", type=PATH, help="The YAML file that describes a `folder` data set, from where you stand."
            ),
            click.option("--split", default="train", show_default=True),
            click.option(
                "--max-gap",
                type=click.IntRange(min=1),
                help="camvid, folder: a larger jump in frame numbers ends a clip.  [default: the smallest one]",
            ),
        )
    ):
        command = option(command)
    return command


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")


@click.group(
    cls=Commands,
    failures=(PropagateError, SdcnetError, JobError),
    interrupted="Interrupted; what is finished is kept.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="propagate")
def main() -> None:
    """Carry the labels of annotated video frames to their neighbours.

    \b
    propagate synth street
    propagate run --root street --out shards --frames 5
    propagate evaluate shards --root street --truth street/truth
    """


@main.command()
@click.argument("dest", type=PATH)
@click.option("--split", "splits", multiple=True, default=["train"], show_default=True, help="Repeatable.")
@click.option("--cities", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--snippets", type=click.IntRange(min=1), default=4, show_default=True, help="Of a split, in all cities together."
)
@click.option("--size", type=_Size(), default="256x512", show_default=True, help="Height x width.")
@click.option("--length", type=click.IntRange(min=20), default=30, show_default=True, help="Frames per snippet.")
@click.option("--seed", type=int, default=0, show_default=True)
def synth(
    dest: Path, splits: tuple[str, ...], cities: int, snippets: int, size: tuple[int, int], length: int, seed: int
) -> None:
    """Write a synthetic driving data set to DEST, in the Cityscapes layout, with exact truth for every frame.

    \b
    propagate synth street --snippets 2 --size 256x512
    propagate synth street --split train --split val
    """
    from propagate.synth.write import write_dataset

    with Progress("frames", len(splits) * snippets * length) as progress:
        for split in splits:
            write_dataset(
                dest,
                split=split,
                num_cities=cities,
                num_snippets=snippets,
                size=size,
                length=length,
                seed=seed,
                on_progress=progress.advance,
            )
    click.echo(
        f"{len(splits) * snippets} snippets of {length} frames in {dest}, exact labels and flow in {dest / 'truth'}",
        err=True,
    )


@main.command("run")
@_dataset_options
@click.option("--out", required=True, type=PATH, help="The shard store: a new folder, or one to go on with.")
@click.option("--frames", type=click.IntRange(min=0), default=5, show_default=True, help="Neighbours on each side.")
@click.option("--motion", type=Name(ESTIMATORS), default="dis", show_default=True)
@click.option("--sdcnet-weights", type=PATH, help="sdcnet, sdcnet-predict: the published file, or one of `sdcnet fit`.")
@click.option("--flownet2-weights", type=PATH, help="flownet2, and where it is the input flow: the published file.")
@click.option(
    "--input-flow",
    type=Name(INPUT_FLOWS),
    help="What the video predictor refines.  [default: what it was trained with; flownet2 for published weights]",
)
@click.option(
    "--history",
    type=Name(HISTORIES),
    default="adjacent",
    show_default=True,
    help="What the video predictor looks back on; annotated: the annotated frame too, as in the published script.",
)
@click.option("--device", type=Name(DEVICES), default="auto", show_default=True, help="Where networks compute.")
@click.option("--dtype", type=Name(DTYPES), default="float32", show_default=True, help="In what they compute.")
@click.option("--compile", is_flag=True, help="Compile them first: minutes, which pay off on many frames.")
@click.option(
    "--pairing",
    type=Name(PAIRINGS),
    default="label",
    show_default=True,
    help="label: real frames with propagated labels; joint: frames predicted by the same motion.",
)
@click.option(
    "--resample",
    type=Name(RESAMPLINGS),
    default="composed",
    show_default=True,
    help="composed: once, from the annotated frame; recursive: at every step, as the published script does.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Ignore pixels that are less sure than this.  [default: off]",
)
@click.option("--images", type=Name(IMAGE_FORMS), default="encoded", show_default=True)
@click.option("--engine", type=Name(ENGINES), default="ray", show_default=True)
@click.option("--workers", type=click.IntRange(min=1), help="[default: one per GPU, else one per core]")
@click.option("--address", help="A running Ray cluster, as host:port.  [default: one on this machine alone]")
@click.option("--clips-per-shard", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N clips.")
@click.option("--no-source", is_flag=True, help="Leave the annotated frames themselves out.")
@click.option("--retry-failed", is_flag=True, help="Make the shards with failed clips again.")
@click.option("--overwrite", is_flag=True, help="Remove the store's shards and begin anew.")
@_json_option
def run_command(
    root: Path,
    dataset: str,
    layout: Path | None,
    split: str,
    max_gap: int | None,
    out: Path,
    frames: int,
    motion: str,
    sdcnet_weights: Path | None,
    flownet2_weights: Path | None,
    input_flow: str | None,
    history: str,
    device: str,
    dtype: str,
    compile: bool,
    pairing: str,
    resample: str,
    min_confidence: float | None,
    images: str,
    engine: str,
    workers: int | None,
    address: str | None,
    clips_per_shard: int,
    limit: int | None,
    no_source: bool,
    retry_failed: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Propagate labels to ±N neighbours and write them as verified shards.

    Run it again to continue an interrupted run: finished shards are kept.

    \b
    propagate run --root cityscapes --out shards --frames 5 --split train
    """
    from propagate.job.run import RunConfig, run

    if address is not None and engine != "ray":
        raise click.UsageError("--address names a Ray cluster: use it with --engine ray")
    config = RunConfig(
        options=DatasetOptions(root=root, split=split, layout=layout, max_gap=max_gap),
        out=out,
        dataset=dataset,
        frames=frames,
        motion=MotionSettings(
            name=motion,
            sdcnet_weights=sdcnet_weights,
            flownet2_weights=flownet2_weights,
            input_flow=input_flow,
            device=device,
            dtype=dtype,
            compile=compile,
        ),
        sample_settings=SampleSettings(
            pairing=pairing,
            history=history,
            resample=resample,
            min_confidence=min_confidence,
            images=images,
            source=not no_source,
        ),
        clips_per_shard=clips_per_shard,
        limit=limit,
        engine=engine,
        num_workers=workers,
        address=address,
    )
    with Progress("frames") as progress:
        summary = run(
            config,
            retry_failed=retry_failed,
            overwrite=overwrite,
            on_plan=progress.expect,
            on_progress=progress.advance,
        )
    if as_json:
        click.echo(json.dumps(asdict(summary) | {"samples_per_second": summary.samples_per_second}))
    else:
        _print_summary(summary, out)
    if summary.failures or summary.lost:
        raise SystemExit(1)


def _print_summary(summary: "RunSummary", out: Path) -> None:
    if summary.written:
        click.echo(
            f"{summary.written} samples written in {summary.seconds:.1f} s ({summary.samples_per_second:.2f} samples/s)"
        )
    elif not summary.planned:
        click.echo("nothing to do: the store is finished")
    click.echo(f"{out}: {summary.samples} samples of {summary.clips} clips in {summary.shards} shards")
    for failure in summary.failures:
        click.echo(f"failed: {_place(failure.clip, failure.offset)}: {failure.reason}", err=True)
    if summary.failures:
        click.echo(f"{len(summary.failures)} failures; mend the inputs, then run again with --retry-failed", err=True)
    for shard in summary.lost:
        click.echo(f"not written: {shard}", err=True)


@main.command()
@click.argument("out", type=PATH)
@_json_option
def info(out: Path, as_json: bool) -> None:
    """Say what a store holds.

    \b
    propagate info shards
    """
    summary = load_manifest(out).summary()
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False))
        return
    shards, pixels = summary["shards"], sum(summary["classes"].values())
    click.echo(f"{out}: {summary['dataset']} {summary['split']}, {summary['bytes'] / 1e6:.1f} MB")
    click.echo(f"  samples    {summary['samples']} of {summary['clips']} clips")
    click.echo(f"  shards     {shards['finished']} of {shards['planned']} finished")
    click.echo(f"  sizes      {_pairs(summary['sizes'])}")
    click.echo(f"  offsets    {_pairs(summary['offsets'])}")
    click.echo(f"  shortened  {summary['shortened_clips']} clips reach the end of their sequence")
    click.echo(f"  settings   {_pairs(summary['settings'])}")
    click.echo(f"  versions   {_pairs(summary['versions'])}")
    click.echo(f"  content    {summary['content']}")
    click.echo("  classes")
    for name, count in sorted(summary["classes"].items(), key=lambda item: -item[1]):
        click.echo(f"    {name:<22} {count / pixels:8.3%}")
    click.echo(f"  failures   {len(summary['failures'])}")
    for failure in summary["failures"]:
        click.echo(f"    {_place(failure['clip'], failure['offset'])}: {failure['reason']}")


def _place(clip: str, offset: int) -> str:
    return f"{clip}, from offset {offset:+d} on" if offset else clip


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items() if value is not None) or "none"


@main.command()
@click.argument("out", type=PATH)
@_json_option
def verify(out: Path, as_json: bool) -> None:
    """Check every digest, every checksum, every sample and all counts of a store.

    \b
    propagate verify shards
    """
    from propagate.shards.verify import verify_store

    manifest = load_manifest(out)
    with Progress("bytes", sum(entry.bytes for entry in manifest.entries())) as progress:
        found = verify_store(out, on_progress=progress.advance)
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        click.echo(f"{out}: {found.samples} samples in {found.shards} shards, {found.bytes / 1e6:.1f} MB")
        if not manifest.complete:
            click.echo(
                f"unfinished: {len(manifest.shards)} of {len(manifest.plan)} planned shards; `propagate run` goes on"
            )
        for fault in found.faults:
            click.echo(f"fault: {fault}", err=True)
        click.echo("no faults" if not found.faults else f"{len(found.faults)} faults")
    if found.faults:
        raise SystemExit(1)


@main.command()
@click.argument("out", type=PATH)
@_dataset_options
@click.option(
    "--truth",
    type=PATH,
    help="A folder; a frame's label map is KEY.png or KEY_gtFine_labelIds.png anywhere in it.  [default: ROOT's own]",
)
@_json_option
def evaluate(
    out: Path,
    root: Path,
    dataset: str,
    layout: Path | None,
    split: str,
    max_gap: int | None,
    truth: Path | None,
    as_json: bool,
) -> None:
    """Score propagated labels against those that the neighbours really have.

    mIoU counts ignored pixels as misses, covered mIoU leaves them out; coverage is the share of pixels that have a
    class; trimap mIoU scores the band of 3 pixels along class boundaries. The table is in percent.

    \b
    propagate evaluate shards --root street --truth street/truth
    """
    from propagate.scoring.evaluate import evaluate_store
    from propagate.scoring.truth import truth_directory
    from propagate.shards.reader import open_store

    store = open_store(out)
    if truth is not None:
        labels_of = truth_directory(truth)
    else:
        options = DatasetOptions(root=root, split=split, layout=layout, max_gap=max_gap)
        labels_of = open_dataset(dataset, options).labels
    with Progress("samples", store.manifest.num_samples) as progress:
        report = evaluate_store(store, labels_of, on_progress=progress.advance)
    click.echo(json.dumps(report.to_json()) if as_json else report.table())
    if report.failures:
        raise SystemExit(1)


@main.command()
@click.argument("out", type=PATH)
@click.argument("dest", type=PATH)
@click.option("--format", "form", type=Name(FORMATS), help="[default: that of the store's data set]")
@_json_option
def export(out: Path, dest: Path, form: str | None, as_json: bool) -> None:
    """Write a store as a tree of images that other trainers read.

    \b
    propagate export shards tree --format cityscapes
    """
    from propagate.export import export_store
    from propagate.shards.reader import open_store

    store = open_store(out)
    with Progress("samples", store.manifest.num_samples) as progress:
        summary = export_store(store, dest, form, on_progress=progress.advance)
    click.echo(
        json.dumps(asdict(summary))
        if as_json
        else f"{dest}: {summary.frames} frames, {summary.superseded} samples gave way to a nearer one"
    )
