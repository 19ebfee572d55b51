"""The command `propagate import`."""

from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

import click

from jobs.console.options import command, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting
from jobs.console.values import print_json
from propagate.formats.registry import IMPORTERS


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Which annotations become a data set, and where."""

    source: Path = setting(MISSING, "Annotations and frames.", argument="SRC")
    dest: Path = setting(MISSING, "The new data set.", argument="DEST")
    format: str = setting(MISSING, "What wrote the annotations.", choices=IMPORTERS)
    classes: str | None = setting(
        None, "The class table: a name or a YAML file.", otherwise="one of what the annotations declare"
    )


@command("import")
@configured(config=ImportConfig)
@json_option
def import_command(config: ImportConfig, as_json: bool) -> None:
    """Make a `folder` data set of annotations from people's tools.

    SRC is a folder, a zip file or a file of annotations, with the frames beside it; DEST must be new or empty. Frames
    are copied, those beside the annotated ones too: labels are propagated to them. Pixels that nobody labelled are
    ignored.

    \b
    propagate import --format cvat task.zip drive
    propagate run --dataset folder --root drive --out shards
    """
    from propagate.data.classes import load_classes
    from propagate.formats.importing import import_annotations

    classes = None if config.classes is None else load_classes(config.classes)
    with Progress("frames") as progress:
        summary = import_annotations(
            config.source,
            config.dest,
            config.format,
            classes,
            on_plan=progress.expect,
            on_progress=progress.advance,
        )
    if as_json:
        print_json(asdict(summary))
        return
    click.echo(
        f"{config.dest}: {summary.frames} frames of {summary.sequences} sequences, {summary.labelled} of them "
        f"labelled; {summary.classes} trained classes"
    )
    for kind, number in summary.passed_over.items():
        click.echo(f"not imported: {number} {kind}", err=True)
