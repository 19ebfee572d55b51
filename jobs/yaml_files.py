"""YAML as plain values, whatever is wrong with it said in one way."""

from typing import Any

import yaml

MOST_VALUES = 1_000_000  # in one file; aliases let a few lines unfold to any number


def parse_yaml(text: bytes) -> Any:
    """What a YAML file holds: dictionaries, lists, texts, numbers. Raises: ValueError where it is none."""
    try:
        value = yaml.safe_load(text)
        num_values = _num_values(value, {})
    except Exception as error:  # depending on the text, its constructors raise anything, as for the 45th of a month
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ValueError(f"not a YAML file: {reason}") from None
    if num_values > MOST_VALUES:
        raise ValueError(f"its aliases unfold to more than {MOST_VALUES} values; write out what is meant")
    return value


def _num_values(value: Any, known: dict[int, int]) -> int:
    """How many values there are, those of aliases counted wherever they stand; within themselves, too many."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_num_values(part, known) for part in parts)
    return known[id(value)]
