"""The command `propagate verify`."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.console.options import command, json_option
from jobs.console.progress import Progress
from jobs.console.types import PATH
from jobs.console.values import print_json
from propagate.shards.manifest import load_manifest


@command()
@click.argument("out", type=PATH)
@json_option
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
        print_json(asdict(found))
    else:
        click.echo(f"{out}: {found.samples} samples in {found.shards} shards, {found.bytes / 1e6:.1f} MB")
        for fault in found.faults:
            click.echo(f"fault: {fault}", err=True)
        where = "" if manifest.complete else " in what is finished"
        click.echo(f"{len(found.faults) or 'no'} faults{where}")
    if found.faults:
        raise SystemExit(1)
