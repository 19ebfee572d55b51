"""Recipes: complete named settings, as YAML files that come with the package, or a file of one's own."""

from importlib import resources
from pathlib import Path
from typing import Any

from jobs.console.setting_files import read_settings
from jobs.console.settings import settings_of
from jobs.errors import FitError
from segtrain.config import FitConfig

Settings = dict[str, Any]


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(item.name.removesuffix(".yaml") for item in _folder().iterdir() if item.name.endswith(".yaml"))


def load_recipe(name_or_path: str) -> Settings:
    """The settings of a recipe, by name or from a YAML file, as FitConfig takes them.

    Raises: FitError: no such recipe, no YAML, a setting that does not exist or has another type.
    """
    path = _folder() / f"{name_or_path}.yaml" if name_or_path in recipe_names() else Path(name_or_path)
    try:
        settings = {each.field.name: each for each in settings_of(FitConfig)}
        return read_settings(path, settings, kind="recipe", example="epochs: 180", help="segtrain fit --help")
    except OSError as error:
        known = ", ".join(recipe_names())
        raise FitError(
            f"{name_or_path}: no such recipe ({error.strerror}); give a YAML file or one of {known}"
        ) from None
    except ValueError as error:
        raise FitError(f"{name_or_path}: {error}") from None


def _folder() -> Any:
    return resources.files("segtrain") / "recipes"
