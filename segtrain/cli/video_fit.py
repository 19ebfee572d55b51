"""The command `segtrain video fit`, whose options are the fields of VideoFitConfig."""

from dataclasses import dataclass, replace

import click

from jobs.console.exit_codes import interrupted
from jobs.console.options import command, config_file, configured, parameter, put_below
from jobs.console.progress import Progress, ShownAdvance
from jobs.console.settings import setting, settings_of
from propagate.cli.places import layout_of
from segtrain.config import BEST, LAST
from segtrain.fit.recipes import load_recipe, recipe_names
from segtrain.video_fit.config import VideoFitConfig


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """What other settings count before."""

    recipe: str | None = setting(
        None,
        f"Complete settings, which options override: a YAML file, or {', '.join(recipe_names(VideoFitConfig))}.",
    )


def _take_recipe(ctx: click.Context, _: click.Parameter, name: str | None) -> str | None:
    if name is not None and not ctx.resilient_parsing:
        put_below(ctx, load_recipe(name, VideoFitConfig))
    return name


(_RECIPE,) = settings_of(_Recipe)


@command("fit")
@parameter(_RECIPE, callback=_take_recipe)
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
    if config.data is not None:
        dataset = layout_of(config.data, config.dataset, instead="--shards")
        config = replace(config, root=config.data.root, dataset=dataset)
    goes_on = f"Interrupted. The same command goes on in {config.out}, from its last checkpoint, if any."
    with interrupted(goes_on), Progress("steps") as progress:
        summary = fit_video(config, ShownAdvance(progress))
    click.echo(f"{config.out}: {summary.steps} steps done, {summary.seconds:.0f} s in this run")
    if summary.scores is not None:
        click.echo(f"{config.out}: {summary.scores}")
    if summary.best is not None:
        click.echo(f"{config.out / BEST}: the best, mIoU {summary.best:.2%}")
    for stage, finding in describe_learnt(config.out / LAST).about["findings"].items():
        click.echo(f"{config.out / LAST}: at {stage}: {finding}")
