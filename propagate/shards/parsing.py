"""Plain values, as JSON has them, to frozen dataclasses: each of exactly the type that its field declares."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


def parse(kind: Any, value: Any, where: str) -> Any:
    """The value as a `kind`: a dataclass, tuple or dict of such, a whole number, a text, or None where it may be.

    where: how messages call it. Raises: ValueError for anything else, and for fields that are missing or unknown.
    """
    if is_dataclass(kind):
        declared = _declared(kind)  # type: ignore[arg-type]  # a class, which can be hashed
        if not isinstance(value, Mapping) or set(value) != set(declared):
            raise ValueError(f"{where} must have the fields {', '.join(sorted(declared))}")
        return kind(**{name: parse(each, value[name], f"{where}.{name}") for name, each in declared.items()})  # type: ignore[operator]
    origin, parameters = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (inner,) = (each for each in parameters if each is not NoneType)
        return None if value is None else parse(inner, value, where)
    if origin is tuple and isinstance(value, list):
        kinds = parameters[:1] * len(value) if parameters[-1] is ... else parameters
        if len(kinds) != len(value):
            raise ValueError(f"{where} must have {len(kinds)} values, found {len(value)}")
        return tuple(
            parse(each, item, f"{where}[{n}]") for n, (each, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is dict and isinstance(value, Mapping):
        of_keys, of_values = parameters
        return {_key(of_keys, name, where): parse(of_values, item, f"{where}.{name}") for name, item in value.items()}
    if kind is Any or type(value) is kind:
        return value
    raise ValueError(f"{where} must be {_called(kind)}, found {value!r:.50}")


@cache
def _declared(kind: Any) -> dict[str, Any]:
    """What the fields of a dataclass are declared to be."""
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


def _key(kind: type, name: str, where: str) -> Any:
    """The name of an item; of numbers, the one way in which JSON has them: two names must not be one key."""
    if kind is int and str(number := int(name)) != name:
        raise ValueError(f"{where}: '{name}' must be the number {number}")
    return kind(name)


def _called(kind: Any) -> str:
    names = {int: "a whole number", str: "a text", tuple: "a list", dict: "an object"}
    return names.get(get_origin(kind) or kind, str(kind))
