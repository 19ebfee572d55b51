"""What a step is trained towards: the loss of a configuration."""

from collections.abc import Sequence
from dataclasses import replace

from jobs.errors import FitError
from segtrain.config import FitConfig, TrainingConfig
from segtrain.data.surroundings import Surroundings
from segtrain.losses.objective import Objective
from segtrain.losses.registry import LOSSES
from segtrain.losses.settings import LossSettings


def open_objective(config: TrainingConfig, class_names: Sequence[str]) -> Objective:
    """The loss of a configuration. Raises: FitError for classes that do not exist.

    Where it is a mean over images or pairs of them, parts of a batch together cost what the whole does, whoever
    computes them; `cross-entropy` and `ohem` are means over the pixels, of each part.
    """
    settings = LossSettings(
        border=config.border,
        strict_classes=train_ids(config.strict_classes, class_names, "strict_classes"),
        relax_until=config.relax_until,
        class_weight=config.class_weight,
        class_weights=_weights(config, class_names),
        as_published=config.as_published,
        auxiliary=config.auxiliary,
    )
    return LOSSES[config.loss](settings)


def surroundings_of(config: FitConfig) -> Surroundings:
    """The neighbours that the loss of a configuration wants to see, whatever the classes are.

    Raises: FitError where two parts of it want different ones.
    """
    offsets = open_objective(replace(config, strict_classes=(), class_weights={}), ()).offsets
    if not offsets:
        return config.surroundings
    if config.is_consistent:
        raise FitError(
            f"the loss {config.loss} looks at neighbours of its own choice; consistency terms take another loss"
        )
    return Surroundings((offsets,))


def _weights(config: TrainingConfig, class_names: Sequence[str]) -> tuple[float, ...]:
    """What each class weighs, by train id; empty where all weigh 1."""
    train_ids(tuple(config.class_weights), class_names, "class_weights")
    return tuple(config.class_weights.get(name, 1.0) for name in class_names) if config.class_weights else ()


def train_ids(names: Sequence[str], class_names: Sequence[str], setting: str) -> tuple[int, ...]:
    """The train ids of classes by name. Raises: FitError for names that the class table doesn't have."""
    unknown = [name for name in names if name not in class_names]
    if unknown:
        raise FitError(f"{setting}: no classes {', '.join(unknown)}; there are {', '.join(class_names)}")
    return tuple(class_names.index(name) for name in names)
