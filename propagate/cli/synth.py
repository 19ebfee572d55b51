"""The command `propagate synth`."""

import click

from jobs.console.exit_codes import interrupted
from jobs.console.options import command, config_file, configured
from jobs.console.progress import Progress
from propagate.synth.config import StreetConfig


@command()
@configured(config=StreetConfig)
@config_file
def synth(config: StreetConfig) -> None:
    """Write a synthetic driving data set to DEST, in the Cityscapes layout, with exact truth for every frame.

    \b
    propagate synth street --snippets 2 --size 256x512
    propagate synth street --split train --split val
    propagate synth sideways --scene translate --speed 32
    """
    from propagate.synth.write import write_splits

    not_whole = f"Interrupted. {config.dest} is not whole: remove it, and begin again."
    with interrupted(not_whole), Progress("frames", config.num_snippets * config.num_written) as progress:
        write_splits(config, on_progress=progress.advance)
    click.echo(
        f"{config.num_snippets} snippets of {config.num_written} frames in {config.dest}, exact labels and flow in "
        f"{config.dest / 'truth'}",
        err=True,
    )
