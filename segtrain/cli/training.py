"""What the commands that train have in common: a recipe below all options, and how a training is run and told of."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.console.exit_codes import interrupted_training
from jobs.console.options import parameter, put_below
from jobs.console.progress import Progress, ShownAdvance
from jobs.console.settings import setting, settings_of
from propagate.cli.places import layout_of
from segtrain.config import BEST, TrainingConfig
from segtrain.fit.recipes import load_recipe, recipe_names

if TYPE_CHECKING:
    from segtrain.fit.training import FitSummary

Config = TypeVar("Config", bound=TrainingConfig)


def takes_recipe(config: type[TrainingConfig]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command of that configuration the option of a recipe, whose settings options override."""

    @dataclass(frozen=True, kw_only=True)
    class Recipe:
        recipe: str | None = setting(
            None, f"Complete settings, which options override: a YAML file, or {', '.join(recipe_names(config))}."
        )

    def take(ctx: click.Context, _: click.Parameter, name: str | None) -> str | None:
        if name is not None and not ctx.resilient_parsing:
            put_below(ctx, load_recipe(name, config))
        return name

    (recipe,) = settings_of(Recipe)
    return parameter(recipe, callback=take)


def run_training(config: Config, train: "Callable[[Config, ShownAdvance], FitSummary]", best: str) -> None:
    """Train, or go on, on the data set that is found where one is to be, and say what it came to. best: what the file
    of the best holds."""
    if config.data is not None:
        dataset = layout_of(config.data, config.dataset, instead="--shards")
        config = replace(config, root=config.data.root, dataset=dataset)
    with interrupted_training(config.out), Progress("steps") as progress:
        summary = train(config, ShownAdvance(progress))
    click.echo(f"{config.out}: {summary.steps} steps done, {summary.seconds:.0f} s in this run")
    if summary.scores is not None:
        click.echo(f"{config.out}: {summary.scores}")
    if summary.best is not None:
        click.echo(f"{config.out / BEST}: {best}, mIoU {summary.best:.2%}")
