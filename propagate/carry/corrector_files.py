"""Files of correctors: safetensors that say, as JSON under the key "propagate", of which classes each is."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import CheckpointError
from jobs.training.descriptions import build_without_values, network_of_another, parse_description
from jobs.training.weights import WeightFile, fill_network, read_weights, write_weights
from propagate.carry.corrector import LabelCorrector
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import CARRYING
from propagate.data.classes import ClassTable

VERSION = 1  # of the description
KEY = "propagate"
_NO_PREFIX = re.compile(r"(?!)")
_ADVICE = "Is it the right file, and whole?"
_TRAIN = "Train one for this data set: propagate fit-corrector"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a file says of its network. classes: their names, by train id. about: for people, how it was trained.

    taught_with: see `evidence_settings`; empty in files that were written before they said that.
    """

    architecture: str
    settings: Mapping[str, Any]
    classes: Sequence[str]
    about: Mapping[str, Any]
    taught_with: Mapping[str, Any] = field(default_factory=dict)


def evidence_settings(motion: str, settings: SampleSettings) -> dict[str, Any]:
    """On what it depends what a corrector is told of carried labels, as JSON values. motion: its name."""
    return {"motion": motion, "history": settings.history, "resample": settings.resample, "carrying": CARRYING}


def save_corrector(
    path: Path,
    corrector: LabelCorrector,
    classes: ClassTable,
    *,
    taught_with: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Write it, whole or not at all. taught_with: see `evidence_settings`. about: JSON values.

    Raises: CheckpointError where it cannot be written.
    """
    description = {
        "version": VERSION,
        "architecture": LabelCorrector.__name__,
        "settings": corrector.settings,
        "classes": classes.train_names,
        "taught_with": taught_with,
        "about": about,
    }
    write_weights(path, corrector, {KEY: json.dumps(description, sort_keys=True)})


def open_corrector(path: Path, classes: ClassTable) -> LabelCorrector:
    """The corrector in a file, in evaluation mode.

    Raises: CheckpointError, also where it is of other classes than these; ParameterError, where parameters are missing,
    unexpected or of another shape.
    """
    file = read_weights(path, _NO_PREFIX)
    description = _described(path, file)
    if list(description.classes) != list(classes.train_names):
        reason = f"a corrector of {_listed(description.classes)}, and labels are of {_listed(classes.train_names)}"
        raise CheckpointError(str(path), f"{reason}. {_TRAIN}")
    network = build_without_values(path, LabelCorrector, description.settings)
    return fill_network(path, network, file.tensors, _ADVICE)


def taught_with(path: Path) -> Mapping[str, Any]:
    """What the corrector in a file was taught with; empty where it does not say so. Raises: CheckpointError."""
    return _described(path, read_weights(path, _NO_PREFIX)).taught_with


def _described(path: Path, file: WeightFile) -> Description:
    text = file.metadata.get(KEY)
    if text is None:
        found = network_of_another(file.metadata, KEY) or "no description of one"
        raise CheckpointError(str(path), f"holds {found}, expected a corrector. {_TRAIN}")
    return parse_description(path, text, Description, VERSION)


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:3])}{', …' * (len(names) > 3)})"
