"""The command `segtrain fit`, whose options are the fields of FitConfig."""

from dataclasses import dataclass, replace

import click

from jobs.console.exit_codes import interrupted
from jobs.console.options import command, config_file, configured, parameter, put_below
from jobs.console.progress import Progress, ShownAdvance
from jobs.console.settings import setting, settings_of
from propagate.cli.places import layout_of
from segtrain.config import BEST, LAST, FitConfig
from segtrain.fit.recipes import load_recipe, recipe_names


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """What other settings count before."""

    recipe: str | None = setting(
        None, f"Complete settings, which options override: a YAML file, or {', '.join(recipe_names())}."
    )


def _take_recipe(ctx: click.Context, _: click.Parameter, name: str | None) -> str | None:
    if name is not None and not ctx.resilient_parsing:
        put_below(ctx, load_recipe(name))
    return name


(_RECIPE,) = settings_of(_Recipe)


@command()
@parameter(_RECIPE, callback=_take_recipe)
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
    if config.data is not None:
        dataset = layout_of(config.data, config.dataset, instead="--shards")
        config = replace(config, root=config.data.root, dataset=dataset)
    goes_on = f"Interrupted. The same command goes on in {config.out}, from its last checkpoint, if any."
    with interrupted(goes_on), Progress("steps") as progress:
        summary = train(config, ShownAdvance(progress))
    click.echo(f"{config.out}: {summary.steps} steps done, {summary.seconds:.0f} s in this run")
    if summary.scores is not None:
        click.echo(f"{config.out}: {summary.scores}")
    if summary.best is not None:
        click.echo(f"{config.out / BEST}: the best network, mIoU {summary.best:.2%}")
    click.echo(f"{config.out / LAST}: the last one; {config.out / PAGE}: curves, classes, pictures")


def _begins(config: FitConfig, recipe: str | None, *, has_gpu: bool) -> str:
    """From which settings a training begins. has_gpu: whether it has one, or may: a cluster's are not known here."""
    if recipe is not None:
        return f"recipe {recipe}"
    size = "x".join(map(str, config.crop))
    told = f"no recipe: {config.network}, {config.epochs} epochs, batches of {config.batch_size}, crops of {size}"
    return told if has_gpu else f"{told}; without a GPU, --recipe tiny trains a small network in minutes"
