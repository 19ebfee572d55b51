"""Values of files that anybody may have written: each of the type that is expected, or a ValueError that says where."""

from collections.abc import Iterator
from typing import Any


def member(data: object, name: str, kind: type | tuple[type, ...], place: str) -> Any:
    """A field of an object. Raises: ValueError where it is missing, or of another type."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(data, dict):
        raise ValueError(f"{place} is no object with fields; export it again")
    value = data.get(name)
    if type(value) not in kinds:
        called = " or ".join(_CALLED[each] for each in kinds)
        found = "is missing" if name not in data else f"is {value!r:.60}"
        raise ValueError(f"{place}: {name} {found}, expected {called}; export it again")
    return value


def members(data: object, name: str, most: int, place: str) -> Iterator[tuple[str, Any]]:
    """The items of a list in an object, each with its place. Raises: ValueError, also where there are too many."""
    listed = member(data, name, list, place)
    if len(listed) > most:
        raise ValueError(f"{place}: {len(listed)} {name}, expected at most {most}; split it up")
    for number, item in enumerate(listed):
        yield f"{name}[{number}]", item


def numbers(values: object, place: str) -> list[float]:
    """A list of numbers. Raises: ValueError."""
    if not isinstance(values, list) or any(type(each) not in (int, float) for each in values):
        raise ValueError(f"{place} is {values!r:.60}, expected a list of numbers; export it again")
    try:
        return [float(each) for each in values]
    except OverflowError:
        raise ValueError(f"{place} has a number that is far too large; export it again") from None


_CALLED: dict[type, str] = {int: "a whole number", str: "a text", list: "a list", dict: "an object", float: "a number"}
