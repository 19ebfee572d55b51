"""How commands name what failed, and find the data set that is meant."""

import click
from click.core import ParameterSource

from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import found_dataset
from propagate.errors import DatasetError


def failed_place(clip: str, offset: int) -> str:
    """A clip, and from which offset on it is missing."""
    return f"{clip}, from offset {offset:+d} on" if offset else clip


def is_typed(option: str) -> bool:
    """Whether an option of the command that runs stands on the command line."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


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
