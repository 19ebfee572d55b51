"""The command `segtrain report`."""

from pathlib import Path

import click

from jobs.console.options import command
from jobs.console.types import PATH


@command()
@click.argument("run", type=PATH)
def report(run: Path) -> None:
    """Sum up a training as one HTML page, RUN/index.html: curves, scores, pictures and settings.

    RUN is the folder of a `segtrain fit`, which writes the page at its end; a training that goes on has one too. The
    page needs neither scripts nor a network, so it can be sent and kept as it is.

    \b
    segtrain report run
    """
    from segtrain.page.page import write_page

    click.echo(write_page(run))
