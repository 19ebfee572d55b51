"""The command `segtrain video fit`, whose options are the fields of VideoFitConfig."""

import click

from jobs.console.options import command, config_file, configured
from segtrain.cli.training import run_training, takes_recipe
from segtrain.config import LAST
from segtrain.video_fit.config import VideoFitConfig


@command("fit")
@takes_recipe(VideoFitConfig)
@configured(config=VideoFitConfig)
@config_file
def video_fit(config: VideoFitConfig, recipe: str | None) -> None:
    """Train a scheme for video on a network, which stays as it is, on annotated frames and those before them.

    Run it again to go on with an interrupted training. RUN/best.safetensors, or without validation last.safetensors, is
    for --scheme of `segtrain video predict` and `evaluate`, together with the network that it was trained on.

    \b
    segtrain video fit --recipe twnet-tiny --base run/best.safetensors --root street --out twnet
    segtrain video evaluate run/best.safetensors --root street --scheme twnet/best.safetensors --scheme warp-features
    """
    from segtrain.video.learnt import describe_learnt
    from segtrain.video_fit.training import fit_video

    click.echo("no recipe" if recipe is None else f"recipe {recipe}", err=True)
    run_training(config, fit_video, "the best")
    for stage, finding in describe_learnt(config.out / LAST).about["findings"].items():
        click.echo(f"{config.out / LAST}: at {stage}: {finding}")
