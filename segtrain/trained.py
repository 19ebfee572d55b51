"""A trained network from its file, and the class table that says what its scores mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import CheckpointError
from jobs.training.runtime import Runtime
from propagate.data.classes import ClassTable, builtin_tables, load_classes
from segtrain.checkpoints import load_network, read_checkpoint
from segtrain.models.network import SegmentationNetwork


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network ready for inference on its runtime; `classes` says what its train ids mean, `about` what its file says
    of its training."""

    network: SegmentationNetwork
    classes: ClassTable
    about: Mapping[str, Any] = field(default_factory=dict)


def open_trained(
    weights: Path, runtime: Runtime, *, architecture: str | None = None, classes: ClassTable | None = None
) -> TrainedNetwork:
    """Load a network from a file of weights, published or ours, for inference.

    architecture: which one a published file holds. classes: what its scores mean; without it, the table in our file, or
    the built-in one whose trained classes are those that an older file names.

    Raises: CheckpointError, ParameterError, where the file cannot be used, or its classes are others or unknown.
    """
    checkpoint = read_checkpoint(weights)
    network = load_network(checkpoint, architecture)
    description = checkpoint.description
    names = description.class_names if description else None
    table = classes or (description.class_table() if description else None) or _builtin_table(weights, names)
    _require_classes(weights, table, network.num_classes, names)
    return TrainedNetwork(
        network=runtime.prepare(network), classes=table, about=description.about if description else {}
    )


def _builtin_table(weights: Path, names: Sequence[str] | None) -> ClassTable:
    if names is None:
        raise CheckpointError(str(weights), f"does not say which classes it scores; {_say_classes()}")
    tables = (load_classes(name) for name in builtin_tables())
    table = next((table for table in tables if table.train_names == tuple(names)), None)
    if table is None:
        raise CheckpointError(
            str(weights), f"scores {_listed(names)}, which no class table of this program has; {_say_classes()}"
        )
    return table


def _require_classes(weights: Path, table: ClassTable, num_classes: int, names: Sequence[str] | None) -> None:
    expected = table.train_names
    if len(expected) != num_classes:
        reason = f"scores {num_classes} classes, class table '{table.name}' has {len(expected)} that are trained"
    elif names is not None and tuple(names) != expected:
        first = next(i for i, pair in enumerate(zip(names, expected, strict=True)) if pair[0] != pair[1])
        reason = (
            f"scores other classes than those of class table '{table.name}': train id {first} is '{names[first]}', "
            f"there '{expected[first]}'"
        )
    else:
        return
    raise CheckpointError(str(weights), f"{reason}; use it with the classes, or the data set, that it was trained for")


def _say_classes() -> str:
    return f"say it by --classes: a YAML file, or one of {', '.join(builtin_tables())}"


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"
