"""The command `propagate export`."""

from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

import click

from jobs.console.options import command, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting
from jobs.console.values import print_json
from propagate.export import FORMATS, export_store
from propagate.review.decisions import open_decisions
from propagate.shards.reader import open_store


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which store is written where, and how."""

    out: Path = setting(MISSING, "The shard store.", argument="OUT")
    dest: Path = setting(MISSING, "The folder of the tree.", argument="DEST")
    format: str | None = setting(
        None,
        "The layout of the tree.",
        choices=FORMATS,
        otherwise="that of the store's data set, or cityscapes, where there is none of its name",
    )
    decisions: Path | None = setting(None, "A file of decisions: samples that it rejects are left out.")


@command()
@configured(config=ExportConfig)
@json_option
def export(config: ExportConfig, as_json: bool) -> None:
    """Write a store as a tree of images that other trainers read, or as annotations that people's tools open.

    Of the latter, corrected ones are read again by `propagate import`; DEST must be new or empty.

    \b
    propagate export shards tree --format cityscapes
    propagate export shards annotations --format cvat
    propagate export shards tree --decisions shards.decisions.json
    """
    store = open_store(config.out)
    decisions = None if config.decisions is None else open_decisions(config.decisions, store)
    with Progress("samples", store.manifest.num_samples) as progress:
        summary = export_store(store, config.dest, config.format, decisions=decisions, on_progress=progress.advance)
    if as_json:
        print_json(asdict(summary))
    else:
        rejected = f", {summary.rejected} were rejected" if config.decisions else ""
        click.echo(
            f"{config.dest}: {summary.frames} frames, {summary.superseded} samples gave way to a nearer one{rejected}"
        )
        if summary.exactness:
            click.echo(f"{summary.exactness}; read them again with --classes {config.dest / 'classes.yaml'}")
