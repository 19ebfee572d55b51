"""Recipes: complete named settings, as YAML files that come with the package, or a file of one's own."""

from importlib import resources
from pathlib import Path
from typing import Any

from jobs.console.setting_files import read_settings
from jobs.console.settings import settings_of
from jobs.errors import FitError
from segtrain.config import FitConfig, TrainingConfig

Settings = dict[str, Any]
ENDING = ".yaml"


def recipe_names(config: type[TrainingConfig] = FitConfig) -> list[str]:
    """The recipes that come with the package, for trainings of that configuration."""
    return sorted(item.name.removesuffix(ENDING) for item in _folder(config).iterdir() if item.name.endswith(ENDING))


def load_recipe(name_or_path: str, config: type[TrainingConfig] = FitConfig) -> Settings:
    """The settings of a recipe, by name or from a YAML file, as the configuration takes them.

    Raises: FitError: no such recipe, no YAML, a setting that does not exist or has another type.
    """
    names = recipe_names(config)
    path = _folder(config) / f"{name_or_path}{ENDING}" if name_or_path in names else Path(name_or_path)
    command = "segtrain fit" if config is FitConfig else "segtrain video fit"
    try:
        settings = {each.field.name: each for each in settings_of(config)}
        return read_settings(path, settings, kind="recipe", example="epochs: 180", help=f"{command} --help")
    except OSError as error:
        raise FitError(
            f"{name_or_path}: no such recipe ({error.strerror}); give a YAML file or one of {', '.join(names)}"
        ) from None
    except ValueError as error:
        raise FitError(f"{name_or_path}: {error}") from None


def _folder(config: type[TrainingConfig]) -> Any:
    recipes = resources.files("segtrain") / "recipes"
    return recipes if config is FitConfig else recipes / "video"
