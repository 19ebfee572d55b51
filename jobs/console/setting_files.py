"""Settings in YAML files: a recipe of a training, or what a command is to do. One way to read both."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

import click

from jobs.console.settings import Setting
from jobs.console.types import text_type
from jobs.registry import meant
from jobs.yaml_files import parse_yaml

_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    tuple[int, int]: "height and width, as 256x512",
    tuple[float, float]: "a range, as 0.5,2",
    tuple[int, ...]: "a list of whole numbers, as [1, 2]",
    tuple[float, ...]: "a list of numbers, as [0.5, 1]",
    tuple[str, ...]: "a list of names, as [pole, rider]",
    tuple[Path, ...]: "a list of paths",
}
_FOUND = {list: "a list", str: "a text", type(None): "nothing"}


def read_settings(path: Path, settings: Mapping[str, Setting], *, kind: str, example: str, help: str) -> dict[str, Any]:
    """The settings of a YAML file, by name, as their dataclass takes them; `-` in a name counts as `_`.

    settings: all that there are, by name. kind: what such a file is called. example: a line of one. help: the command
    that lists them.
    Raises: OSError; ValueError for no YAML, for a setting that does not exist or has another type.
    """
    data = parse_yaml(path.read_bytes())
    if not isinstance(data, dict):
        raise ValueError(f"a {kind} is a list of settings, as `{example}`, found {_FOUND.get(type(data), 'a value')}")
    named = {str(name).replace("-", "_"): value for name, value in data.items()}
    if unknown := sorted(named.keys() - settings.keys()):
        nearest = meant(unknown[0], settings)
        raise ValueError(f"no settings {', '.join(unknown)}; `{help}` has them all{nearest}")
    return {name: _value(name, value, settings[name]) for name, value in named.items()}


def _value(name: str, value: Any, setting: Setting) -> Any:
    if value is None and setting.optional:
        return None
    return _as_kind(name, value, setting.kind)


def _as_kind(name: str, value: Any, kind: Any) -> Any:
    """A value of YAML as that type; lists and factors may be one text, as on a command line. Raises: ValueError."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        if len(kinds) == len(value):
            return tuple(_as_kind(name, item, part) for item, part in zip(value, kinds, strict=True))
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {_as_kind(name, key, str): _as_kind(name, item, parts[1]) for key, item in value.items()}
    if origin is not None and isinstance(value, str) and parts[0] is not Path:
        with suppress(click.BadParameter):
            return text_type(kind).convert(value, None, None)
    if kind is float and not isinstance(value, bool):
        with suppress(TypeError, ValueError):  # of YAML 1.1, 1e-4 is a text
            return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind in (int, float, bool, str) and type(value) is kind:
        return value
    expected = _WORDS.get(kind, "names with numbers, as {pole: 2}")
    raise ValueError(f"{name}: expected {expected}, found {'nothing' if value is None else repr(value)}")
