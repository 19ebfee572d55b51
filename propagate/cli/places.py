"""How commands name what failed, and find the data set that is meant."""

import click
from click.core import ParameterSource

from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import found_dataset
from propagate.errors import DatasetError


def failed_place(clip: str, offset: int) -> str:
    """A clip, and at which offset something is missing, unless all of it is."""
    return f"{clip}, offset {offset:+d}" if offset else clip


def is_typed(option: str) -> bool:
    """Whether an option of the command that runs stands on the command line."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def refuse_beside_source(*options: str) -> None:
    """Raises: UsageError where one of these options of a data set stands on the command line."""
    if given := ", ".join(f"--{option.replace('_', '-')}" for option in options if is_typed(option)):
        raise click.UsageError(f"give either SOURCE or {given}, the one thing or the other")


def layout_of(options: DatasetOptions, named: str | None, *, likely: str | None = None, instead: str = "") -> str:
    """The layout of a data set: the one that is named, or what the root holds, which is said unless --root is typed.

    likely: as in `found_dataset`. instead: what else could have been given, for the message. Raises: DatasetError.
    """
    if named is not None:
        return named
    try:
        found = found_dataset(options, likely=likely)
    except DatasetError as error:
        raise DatasetError(f"no {instead}, and {error}") if instead and not is_typed("root") else error from None
    if not is_typed("root"):
        click.echo(f"{options.root.absolute()}: a data set of the layout {found}", err=True)
    return found
