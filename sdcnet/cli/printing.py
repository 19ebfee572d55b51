"""How commands print what a program would read."""

import json
import math
from typing import Any

import click


def print_json(values: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(_finite(values), ensure_ascii=False))


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity: null stands for them."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
