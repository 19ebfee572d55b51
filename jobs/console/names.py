"""Names on command lines, of which there are only so many."""

from collections.abc import Collection
from typing import Any

import click

from jobs.registry import meant


class Name(click.Choice):
    """One of these names, such as those of a registry; of an unknown one the error says which was perhaps meant."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(tuple(names))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(str(value), param, ctx)
        except click.BadParameter as error:
            suggestion = meant(str(value), self.choices)
            if not suggestion:
                raise
            self.fail(error.message.removesuffix(".") + suggestion, param, ctx)
