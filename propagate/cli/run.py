"""The command `propagate run`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console.options import command, config_file, configured, json_option
from jobs.console.progress import Progress
from jobs.console.values import percent, print_json
from propagate.cli.places import failed_place, layout_of
from propagate.job.config import Continuation, RunConfig

if TYPE_CHECKING:
    from propagate.job.run import RunSummary


@command("run")
@configured(config=RunConfig, continuation=Continuation)
@config_file
@json_option
def run_command(config: RunConfig, continuation: Continuation, as_json: bool) -> None:
    """Propagate labels to ±N neighbours and write them as verified shards.

    Run it again to continue an interrupted run: finished shards are kept.

    \b
    propagate run --root cityscapes --out shards --frames 5 --split train
    """
    from propagate.job.places import teller
    from propagate.job.run import run

    config = replace(config, dataset=layout_of(config.options, config.dataset))

    with Progress("frames") as progress:
        summary = run(
            config,
            retry_failed=continuation.retry_failed,
            overwrite=continuation.overwrite,
            on_plan=progress.expect,
            on_started=teller(progress.say, is_network=config.motion.is_network),
            on_progress=progress.advance,
        )
    if as_json:
        print_json(asdict(summary) | {"samples_per_second": summary.samples_per_second})
    else:
        print_summary(summary, config.out)
    if summary.failures or summary.lost:
        raise SystemExit(1)


def print_summary(summary: "RunSummary", out: Path) -> None:
    if summary.written:
        click.echo(
            f"{summary.written} samples written in {summary.seconds:.1f} s ({summary.samples_per_second:.2f} samples/s)"
        )
    elif not summary.planned:
        click.echo(
            "nothing to do: the store is finished; checked of each shard: its store, place, size and form; "
            "`propagate verify` reads all that it holds"
        )
    click.echo(f"{out}: {summary.samples} samples of {summary.clips} clips in {summary.shards} shards")
    if summary.masked:
        click.echo(f"masks were given of {summary.masked} neighbours; the labels of others are as they were carried")
    if summary.corrected is not None:
        click.echo(f"the corrector changed the labels of {percent(summary.corrected, 2)} % of the carried pixels")
    for failure in summary.failures:
        click.echo(f"failed: {failed_place(failure.clip, failure.offset)}: {failure.reason}", err=True)
    if summary.failures:
        advice = "mend the inputs, then run again with --retry-failed"
        if summary.samples:
            advice += "; a mended class table takes --overwrite, since what is finished is of the former one"
        click.echo(f"{len(summary.failures)} failures; {advice}", err=True)
    for node in summary.barred:
        click.echo(f"given no work: {node}", err=True)
    for shard in summary.lost:
        click.echo(f"not written: {shard}", err=True)
