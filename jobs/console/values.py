"""Numbers as people and programs read them, those that are none among them."""

import json
import math
from typing import Any

import click


def percent(fraction: float, decimals: int, none: str = "-") -> str:
    """A fraction in percent, without the sign; `none` for NaN."""
    return none if math.isnan(fraction) else f"{100 * fraction:.{decimals}f}"


def counted(number: int, one: str) -> str:
    """A number of things, which are called by their name for one with an s: "1 image", "2 images"."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def finite(value: Any) -> Any:
    """The same for `json.dumps`, which has neither NaN nor infinity: None stands for them, in dicts and lists too."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(finite(values), ensure_ascii=False))
