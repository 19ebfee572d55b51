"""Recipes: complete named settings, as YAML files that come with the package, or a file of one's own.

One may be another with some settings changed: `extends` names that.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jobs.console.setting_files import read_settings
from jobs.console.settings import setting, settings_of
from jobs.errors import FitError
from jobs.registry import meant
from segtrain.config import FitConfig, TrainingConfig

Settings = dict[str, Any]
ENDING = ".yaml"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a recipe begins with."""

    extends: str | None = setting(None, "A recipe that comes with the package, whose other settings count too.")


def recipe_names(config: type[TrainingConfig] = FitConfig) -> list[str]:
    """The recipes that come with the package, for trainings of that configuration."""
    return sorted(item.name.removesuffix(ENDING) for item in _folder(config).iterdir() if item.name.endswith(ENDING))


def load_recipe(name_or_path: str, config: type[TrainingConfig] = FitConfig) -> Settings:
    """The settings of a recipe, by name or from a YAML file, as the configuration takes them; with those it extends.

    Raises: FitError: no such recipe, no YAML, a setting that does not exist or has another type.
    """
    names = recipe_names(config)
    path = _folder(config) / f"{name_or_path}{ENDING}" if name_or_path in names else Path(name_or_path)
    command = "segtrain fit" if config is FitConfig else "segtrain video fit"
    try:
        settings = {each.field.name: each for part in (config, Origin) for each in settings_of(part)}
        found = read_settings(path, settings, kind="recipe", example="epochs: 180", help=f"{command} --help")
    except OSError as error:
        raise FitError(
            f"{name_or_path}: no such recipe ({error.strerror}); give a YAML file or one of {', '.join(names)}"
            f"{meant(name_or_path, names)}"
        ) from None
    except ValueError as error:
        raise FitError(f"{name_or_path}: {error}") from None
    origin = found.pop("extends", None)
    if origin is None:
        return found
    if origin not in names:
        raise FitError(f"{name_or_path}: extends '{origin}', which is none of {', '.join(names)}")
    return {**load_recipe(origin, config), **found}


def _folder(config: type[TrainingConfig]) -> Any:
    recipes = resources.files("segtrain") / "recipes"
    return recipes if config is FitConfig else recipes / "video"
