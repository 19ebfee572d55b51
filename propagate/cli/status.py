"""The command `propagate status`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console.options import command, json_option
from jobs.console.progress import clock
from jobs.console.types import PATH
from jobs.console.values import print_json

if TYPE_CHECKING:
    from propagate.job.status import RunStatus


@command()
@click.argument("store", type=PATH)
@json_option
def status(store: Path, as_json: bool) -> None:
    """Say how far the run that writes STORE has come, here or on another machine.

    The rate is that of the shards finished since each worker had one, so without the run's start.

    \b
    propagate status shards
    """
    from propagate.job.status import status_of

    found = status_of(store)
    if as_json:
        print_json(asdict(found))
        return
    click.echo(
        f"{store}: {found.shards} of {found.planned_shards} shards, {found.samples} of {found.planned_samples} "
        f"samples, {found.failures} failures"
    )
    click.echo(_told(found))


def _told(found: "RunStatus") -> str:
    """What goes on, in a sentence."""
    if not found.at_work:
        return "finished" if found.shards == found.planned_shards else f"no run is at work; `{found.command}` goes on"
    last = "nothing written yet" if found.last_written is None else f"last written {clock(found.last_written)} ago"
    if found.samples_per_second is None or found.seconds_left is None:
        rate = "no rate yet, which takes a shard of each worker and one more"
    else:
        rate = f"{found.samples_per_second:.2f} samples/s, {clock(found.seconds_left)} left"
    return f"a run is at work, shards begun: {found.begun}, {last}; {rate}"
