"""The command `propagate info`."""

from pathlib import Path
from typing import Any

import click

from jobs.console.options import command, json_option
from jobs.console.types import PATH
from jobs.console.values import print_json
from propagate.cli.places import failed_place
from propagate.shards.reader import open_store


@command()
@click.argument("out", type=PATH)
@json_option
def info(out: Path, as_json: bool) -> None:
    """Say what a store holds.

    \b
    propagate info shards
    """
    store = open_store(out)
    for index in store.indices:  # each is the shard that belongs there, or this says which is not
        store.open(index).close()
    summary = store.manifest.summary()
    if as_json:
        print_json(summary)
        return
    shards, pixels = summary["shards"], sum(summary["classes"].values())
    click.echo(f"{out}: {summary['dataset']} {summary['split']}, {summary['bytes'] / 1e6:.1f} MB")
    click.echo(f"  samples    {summary['samples']} of {summary['clips']} clips")
    click.echo(f"  shards     {shards['finished']} of {shards['planned']} finished")
    click.echo(f"  sizes      {_pairs(summary['sizes'])}")
    click.echo(f"  offsets    {_pairs(summary['offsets'])}")
    click.echo(f"  origins    {_pairs(summary['origins'])}")
    click.echo(f"  shortened  {summary['shortened_clips']} clips reach the end of their sequence")
    click.echo(f"  settings   {_pairs(summary['settings'])}")
    click.echo(f"  versions   {_pairs(summary['versions'])}")
    click.echo(f"  content    {summary['content']}")
    click.echo("  classes")
    for name, count in sorted(summary["classes"].items(), key=lambda item: -item[1]):
        click.echo(f"    {name:<22} {count / pixels:8.3%}")
    click.echo(f"  failures   {len(summary['failures'])}")
    for failure in summary["failures"]:
        click.echo(f"    {failed_place(failure['clip'], failure['offset'])}: {failure['reason']}")


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items() if value is not None) or "none"
