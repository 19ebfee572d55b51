"""The command `propagate fit-corrector`."""

import os
from dataclasses import replace

import click

from jobs.console.exit_codes import interrupted_training
from jobs.console.options import command, config_file, configured
from jobs.console.progress import Progress, ShownAdvance
from propagate.cli.places import layout_of
from propagate.fit.config import FitConfig


@command("fit-corrector")
@configured(config=FitConfig)
@config_file
def fit_corrector(config: FitConfig) -> None:
    """Train a small network that corrects carried labels, for `propagate run --corrector`.

    It learns what the classes of a data set look like, from its annotated frames: labels are carried out to their
    neighbours and back, and where they come back as others, it learns to see that. True label maps of neighbours teach
    it too, where there are any. One of eight annotated frames is held out, and scored on.
    Run it again to go on with an interrupted training.

    \b
    propagate fit-corrector --root cityscapes --out corrector
    propagate run --root cityscapes --out shards --corrector corrector/corrector.safetensors
    """
    # Read when torch is imported: on cores that have other work, threads that wait must not keep it from them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from propagate.fit.training import fit_corrector as train

    config = replace(config, dataset=layout_of(config.options, config.dataset))
    with interrupted_training(config.out), Progress("annotated frames") as carried, Progress("steps") as steps:
        summary = train(config, carried.expect, carried.advance, ShownAdvance(steps))
    click.echo(f"{summary.weights}: {summary.steps} steps done, {summary.seconds:.0f} s in this run")
    click.echo(f"{config.out}: {summary.scores}")
