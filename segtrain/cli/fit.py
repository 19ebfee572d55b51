"""The command `segtrain fit`, whose options are the fields of FitConfig."""

import click

from jobs.console.options import command, config_file, configured
from segtrain.cli.training import run_training, takes_recipe
from segtrain.config import LAST, FitConfig


@command()
@takes_recipe(FitConfig)
@configured(config=FitConfig)
@config_file
def fit(config: FitConfig, recipe: str | None) -> None:
    """Train a segmentation network on shards of `propagate run`, or on any data set's annotated frames.

    Run it again to go on with an interrupted training. RUN/best.safetensors, or without validation last.safetensors, is
    for `segtrain evaluate` and `predict`.

    \b
    segtrain fit --recipe tiny --shards shards --root street --out run
    segtrain fit --recipe cityscapes-wrn38 --shards shards --root cityscapes --out run --workers 8 \\
        --weights mapillary.safetensors --new-head
    """
    import torch

    from segtrain.fit.training import fit as train
    from segtrain.page.page import PAGE

    has_gpu = config.address is not None or (config.device != "cpu" and torch.cuda.is_available())
    click.echo(_begins(config, recipe, has_gpu=has_gpu), err=True)
    run_training(config, train, "the best network")
    click.echo(f"{config.out / LAST}: the last one; {config.out / PAGE}: curves, classes, pictures")


def _begins(config: FitConfig, recipe: str | None, *, has_gpu: bool) -> str:
    """From which settings a training begins. has_gpu: whether it has one, or may: a cluster's are not known here."""
    if recipe is not None:
        return f"recipe {recipe}"
    size = "x".join(map(str, config.crop))
    told = f"no recipe: {config.network}, {config.epochs} epochs, batches of {config.batch_size}, crops of {size}"
    return told if has_gpu else f"{told}; without a GPU, --recipe tiny trains a small network in minutes"
