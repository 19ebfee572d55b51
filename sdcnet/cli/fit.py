"""The command `sdcnet fit`."""

import os

import click

from jobs.console.exit_codes import interrupted_training
from jobs.console.options import command, config_file, configured
from jobs.console.progress import Progress, ShownAdvance
from sdcnet.fit.config import FitConfig


@command()
@configured(config=FitConfig)
@config_file
def fit(config: FitConfig) -> None:
    """Train a video predictor on frames alone: folders of images, or videos.

    It learns to refine its input flow so that each frame, warped, becomes the next. Run it again to go on with an
    interrupted training. RUN/predictor.safetensors is for --motion sdcnet; RUN also holds what TensorBoard shows.

    \b
    sdcnet fit street/leftImg8bit_sequence/train --val street/leftImg8bit_sequence/val --out run
    sdcnet fit *.mp4 --out small --width 0.25 --crop 128x256 --batch-size 4 --learning-rate 1e-3 --steps 3000
    """
    # Read when torch is imported: threads that wait must not take the cores from the processes that read samples.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sdcnet.fit.training import fit as train

    with interrupted_training(config.out), Progress("steps") as progress:
        summary = train(config, ShownAdvance(progress))
    click.echo(f"{config.out}: {summary.steps} steps done, {summary.seconds:.0f} s in this run")
    if summary.scores is not None:
        click.echo(f"{config.out}: {summary.scores}")
