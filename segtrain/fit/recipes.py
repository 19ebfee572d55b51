"""Recipes: complete named settings, as YAML files that come with the package, or a file of one's own."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from jobs.errors import FitError
from segtrain.config import FitConfig

Settings = dict[str, Any]


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(item.name.removesuffix(".yaml") for item in _folder().iterdir() if item.name.endswith(".yaml"))


def load_recipe(name_or_path: str) -> Settings:
    """The settings of a recipe, by name or from a YAML file, as FitConfig takes them.

    Raises FitError: no such recipe, no YAML, a setting that does not exist or has another type.
    """
    is_ours = name_or_path in recipe_names()
    try:
        text = (_folder() / f"{name_or_path}.yaml" if is_ours else Path(name_or_path)).read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except OSError as error:
        known = ", ".join(recipe_names())
        raise FitError(
            f"{name_or_path}: no such recipe ({error.strerror}); give a YAML file or one of {known}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FitError(f"{name_or_path}: not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise FitError(f"{name_or_path}: a recipe is a list of settings, as `epochs: 180`, found {type(data).__name__}")
    types = setting_types()
    unknown = sorted(map(str, data.keys() - types.keys()))
    if unknown:
        raise FitError(f"{name_or_path}: no settings {', '.join(unknown)}; `segtrain fit --help` has them all")
    optional = {each.name for each in fields(FitConfig) if each.default is None}
    return {
        name: None if value is None and name in optional else _value(f"{name_or_path}: {name}", value, types[name])
        for name, value in data.items()
    }


def setting_types() -> dict[str, Any]:
    """What FitConfig's settings are, apart from None: int, float, bool, str, Path, tuple[int, int] and so on."""
    hints = get_type_hints(FitConfig)
    return {each.name: _without_none(hints[each.name]) for each in fields(FitConfig)}


def optional_settings() -> set[str]:
    """The settings that may be None."""
    return {name for name, hint in get_type_hints(FitConfig).items() if get_origin(hint) is UnionType}


def _without_none(hint: Any) -> Any:
    if get_origin(hint) is not UnionType:
        return hint
    (kind,) = (part for part in get_args(hint) if part is not NoneType)
    return kind


def _value(where: str, value: Any, kind: Any) -> Any:
    """A value of YAML as that type. Raises FitError."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        if len(kinds) == len(value):
            return tuple(_value(where, item, part) for item, part in zip(value, kinds, strict=True))
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {_value(where, key, str): _value(where, item, parts[1]) for key, item in value.items()}
    if kind is float and not isinstance(value, bool):
        with suppress(TypeError, ValueError):  # of YAML 1.1, 1e-4 is a text
            return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind in (int, float, bool, str) and type(value) is kind:
        return value
    raise FitError(f"{where}: expected {kind if origin else kind.__name__}, found {value!r}")


def _folder() -> Any:
    return resources.files("segtrain") / "recipes"
