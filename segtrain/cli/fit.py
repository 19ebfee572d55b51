"""The command `segtrain fit`, whose options are the fields of FitConfig."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_origin

import click

from jobs.console.names import Name
from jobs.console.progress import Progress, ShownAdvance
from sdcnet.cli.fit import Size
from segtrain.config import BEST, LAST, FitConfig
from segtrain.fit.recipes import load_recipe, optional_settings, recipe_names, setting_types


class Range(click.ParamType):
    """LOW,HIGH or one number for both."""

    name = "LOW,HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        try:
            low, _, high = str(value).partition(",")
            return float(low), float(high or low)
        except ValueError:
            self.fail(f"'{value}' is no range, as 0.5,2", param, ctx)


class Names(click.ParamType):
    """NAME,NAME…"""

    name = "NAME,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(name.strip() for name in str(value).split(","))
        if "" in names:
            self.fail(f"'{value}' is no list of names, as pole,rider", param, ctx)
        return names


class Factors(click.ParamType):
    """NAME=NUMBER,…"""

    name = "NAME=N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        try:
            pairs = [item.partition("=") for item in str(value).split(",") if item]
            return {name.strip(): float(factor) for name, _, factor in pairs}
        except ValueError:
            self.fail(f"'{value}' is no list of factors, as pole=2,rider=1.5", param, ctx)


NONE = object()  # an optional setting that a recipe has, and this training hasn't


class OrNone(click.ParamType):
    """What another type takes, or `none`."""

    def __init__(self, other: click.ParamType) -> None:
        self._other, self.name = other, f"{other.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return NONE if str(value).lower() == "none" else self._other.convert(value, param, ctx)


_TYPES: Mapping[Any, click.ParamType] = {
    bool: click.BOOL,
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(path_type=Path),
    tuple[Path, ...]: click.Path(path_type=Path),
    tuple[int, int]: Size(),
    tuple[float, float]: Range(),
    tuple[str, ...]: Names(),
}


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each setting but --out; None where it is not given."""
    types, optional = setting_types(), optional_settings()
    for each in reversed([each for each in fields(FitConfig) if each.name != "out"]):
        name, kind, help = each.name.replace("_", "-"), types[each.name], each.metadata["help"]
        choices = each.metadata["choices"]
        if "[default" not in help and each.default not in (MISSING, None, ()):
            help = f"{help}  [default: {_shown(each.default)}]".strip()
        flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
        of_values = Factors() if get_origin(kind) is Mapping else _TYPES[kind]
        type_ = Name([str(choice) for choice in choices]) if choices else of_values
        command = click.option(
            flag,
            each.name,
            type=OrNone(type_) if each.name in optional or isinstance(of_values, Names | Factors) else type_,
            multiple=kind == tuple[Path, ...],
            default=None,
            help=help,
        )(command)
    return command


def _as(kind: Any, value: Any) -> Any:
    if value is NONE:
        return {tuple[str, ...]: (), Mapping[str, float]: {}}.get(kind)
    return int(value) if kind is int else value  # choices are texts


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ("x" if isinstance(default[0], int) else ",").join(map(str, default))
    return str(default)


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run's folder: new, or to go on with.")
@click.option(
    "--recipe", help=f"Complete settings, which options override: a YAML file, or {', '.join(recipe_names())}."
)
@_with_settings
def fit(out: Path, recipe: str | None, **options: Any) -> None:
    """Train a segmentation network on shards of `propagate run`, or on any data set's annotated frames.

    Run it again to go on with an interrupted training. RUN/best.safetensors, or without validation last.safetensors, is
    for `segtrain evaluate` and `predict`.

    \b
    segtrain fit --recipe tiny --shards shards --root street --out run
    segtrain fit --recipe cityscapes-wrn38 --shards shards --root cityscapes --out run --workers 8 \\
        --weights mapillary.safetensors --new-head
    """
    types = setting_types()
    given = {name: _as(types[name], value) for name, value in options.items() if value is not None and value != ()}
    settings = load_recipe(recipe) if recipe else {}
    try:
        config = FitConfig(**{**settings, **given, "out": out})
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    from segtrain.fit.training import fit as train
    from segtrain.page.page import PAGE

    try:
        with Progress("steps") as progress:
            summary = train(config, ShownAdvance(progress))
    except KeyboardInterrupt:
        click.echo(f"Interrupted. The same command goes on from the last checkpoint in {config.out}.", err=True)
        raise SystemExit(130) from None
    click.echo(f"{config.out}: {summary.steps} steps done, {summary.seconds:.0f} s in this run")
    if summary.scores is not None:
        click.echo(f"{config.out}: {summary.scores}")
    if summary.best is not None:
        click.echo(f"{config.out / BEST}: the best network, mIoU {summary.best:.2%}")
    click.echo(f"{config.out / LAST}: the last one; {config.out / PAGE}: curves, classes, pictures")
