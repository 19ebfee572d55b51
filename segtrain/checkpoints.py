"""Files of segmentation networks' weights: the published ones, ours, and trunks trained on ImageNet.

The only place that knows what other programs put around a network. Files of ``torch.save`` are read without running any
code in them; their parameters lie in the file itself or under "state_dict", and their names may begin with "module.".
Files of trainings with a teacher hold the network under "student.", beside what helped to train it: that is left out.
Ours are safetensors files, which describe the network as JSON under the metadata's key "segtrain".

Files from before PyTorch 0.4.1 lack ``num_batches_tracked``, which no computation here depends on: it begins at 0.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.training.checksums import AGAIN
from jobs.training.descriptions import build_without_values, network_of_another, parse_description
from jobs.training.weights import (
    fill_network,
    read_weights,
    require_parameters,
    write_weights,
)
from propagate.data.classes import ClassTable
from propagate.errors import DatasetError
from segtrain.models.network import SegmentationNetwork
from segtrain.models.preprocessing import PREPROCESSING
from segtrain.models.registry import NETWORKS, build_network

VERSION = 1  # of the description in our files
KEY = "segtrain"
KEY_OF_LEARNT = "segtrain-video"  # of files of `segtrain video fit`
ADVICE = "Is it the right file, whole, and of this architecture?"

_log = logging.getLogger(__name__)
PREFIXES = re.compile(r"^(module\.)+")
_STUDENT = re.compile(r"^student\.(module\.)*")
_HELPERS = ("flow", "teacher", "criterion")  # what the names of all else in a student's file contain
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What one of our files says of its network.

    settings: `build_network` makes the network from them. class_names: in the order of train ids, one a score.
    about: JSON values for people: data, recipe, scores. classes: the class table, as `ClassTable.to_json` gives it;
    empty in files from before they held it.
    """

    architecture: str
    settings: Mapping[str, Any]
    class_names: Sequence[str]
    preprocessing: Mapping[str, Any]
    about: Mapping[str, Any]
    classes: Mapping[str, Any] = field(default_factory=dict)

    def class_table(self) -> ClassTable | None:
        """The class table, where the file holds one. Raises: DatasetError for one that is none."""
        return ClassTable.from_json(self.classes) if self.classes else None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file of weights as it was read.

    `tensors` have the published names, or their own in a foreign file. `fields` are the numbers and strings that a
    published file holds beside them, such as its epoch. Only our files have a `description`. `left_out` says how many
    tensors there are of each part that only helped to train the network, such as "flownet".
    """

    path: Path
    tensors: Mapping[str, Tensor]
    fields: Mapping[str, str | int | float]
    description: Description | None
    left_out: Mapping[str, int] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of weights, whoever wrote it, and log a warning that says what is left out.

    Raises: CheckpointError, where it is not one, not whole, or for another program of ours.
    """
    file = read_weights(path, PREFIXES)
    if other := network_of_another(file.metadata, KEY):
        reason = f"holds {other}, expected one of segmentation. Give a file of `segtrain fit`, or a published one"
        if KEY_OF_LEARNT in file.metadata:
            reason = (
                "holds what `segtrain video fit` has learnt on a network, expected one of segmentation. Give that "
                "network, its --base; this file is for --scheme of `segtrain video predict` and `evaluate`"
            )
        raise CheckpointError(str(path), reason)
    description = _description(path, file.metadata[KEY]) if KEY in file.metadata else None
    tensors, left_out = _without_helpers(path, file.tensors)
    if left_out:
        parts = ", ".join(f"{count} of {part}" for part, count in left_out.items())
        _log.warning("%s: left out tensors that only helped to train the network: %s", path, parts)
    return Checkpoint(path=path, tensors=tensors, fields=file.fields, description=description, left_out=left_out)


def load_network(checkpoint: Checkpoint, architecture: str | None = None) -> SegmentationNetwork:
    """The network in a file, with as many classes as that has, in evaluation mode.

    Our files say which architecture they hold, published ones don't: `architecture` (a name of NETWORKS) is for those.
    Its output stride is what our file says, and the least that the architecture has for others.
    Raises: CheckpointError; ParameterError, where parameters are missing, unexpected or of another shape; ValueError,
    where there is no such architecture.
    """
    path, description = checkpoint.path, checkpoint.description
    if architecture:
        NETWORKS.require(architecture)
        _require_architecture(checkpoint, architecture)
    name = architecture or (description.architecture if description else None)
    if name is None:
        choice = ", ".join(NETWORKS)
        raise CheckpointError(str(path), f"does not say which architecture it holds. Say it, one of: {choice}")
    settings: dict[str, Any] = (
        dict(description.settings)
        if description
        else {"num_classes": _num_classes(checkpoint, name) or 1, "output_stride": NETWORKS[name].output_strides[0]}
    )
    network = build_without_values(path, partial(build_network, name), settings)
    if description and len(description.class_names) != network.num_classes:
        reason = f"names {len(description.class_names)} classes, but scores {network.num_classes}"
        raise CheckpointError(str(path), f"{reason}. {ADVICE}")
    return fill_network(path, network, _with_counters(checkpoint.tensors, network.state_dict()), ADVICE)


def load_weights(network: SegmentationNetwork, checkpoint: Checkpoint, *, new_head: bool = False) -> None:
    """Set all of a network's parameters and buffers to those of a file, published or ours.

    new_head: what scores the classes, the network's `head`, stays as it is in the network, whatever the file has.
    Raises: CheckpointError, where the file is of another architecture, or has another number of classes and the head
    is not to be new; ParameterError, where parameters are missing, unexpected or of another shape. The network is
    then unchanged.
    """
    _require_architecture(checkpoint, network.architecture)
    found = _num_classes(checkpoint, network.architecture)
    if not new_head and found not in (None, network.num_classes):
        raise CheckpointError(
            str(checkpoint.path),
            f"scores {found} classes, the network {network.num_classes}. Ask for a new head (--new-head) to take all "
            "but that from the file",
        )
    kept = network.head if new_head else frozenset()
    own = network.state_dict()
    expected = {name: tensor for name, tensor in own.items() if name not in kept}
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name not in kept}
    tensors = _with_counters(tensors, expected)
    require_parameters(checkpoint.path, network.architecture, expected, tensors, ADVICE)
    network.load_state_dict({**own, **tensors})


def load_trunk_weights(network: SegmentationNetwork, checkpoint: Checkpoint) -> list[str]:
    """Set a network's trunk to that of a file, and return the names of all else in the file, which is left alone.

    The file holds the same trunk's ImageNet classifier, by the names of the published segmentation networks (``mod1``
    …, ``layer0`` …) or by the trunk's foreign ones, or a whole segmentation network. It must hold all of the trunk's
    stages, and they nothing else. Left alone is what lies beside them: of WideResNet38 ``bn_out`` and ``classifier``,
    of ResNets ``fc``, of SE-ResNeXt ``last_linear``, of MobileNetV2 ``features.18`` and ``classifier``, of a network
    its head.

    Raises: ParameterError, where parameters of the trunk are missing, unexpected or of another shape. The network is
    then unchanged.
    """
    own = network.state_dict()
    expected = {name: tensor for name, tensor in own.items() if _stage(name) in network.stage_names}
    tensors, left_alone = {}, []
    for foreign, tensor in checkpoint.tensors.items():
        name = _renamed(foreign, network.foreign_names)
        if _stage(name) in network.stage_names:
            tensors[name] = tensor
        else:
            left_alone.append(foreign)
    tensors = _with_counters(tensors, expected)
    advice = "Is it a file of this trunk's classifier, or of a network with this trunk?"
    require_parameters(checkpoint.path, f"the trunk of {network.architecture}", expected, tensors, advice)
    network.load_state_dict({**own, **tensors})
    return left_alone


def save_network(
    path: Path,
    network: SegmentationNetwork,
    *,
    classes: ClassTable,
    about: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network as a file of ours, whole or not at all; the same network gives the same bytes.

    classes: what the scores mean, by train ids. about: JSON values for people who inspect the file. dtype: of the
    parameters; buffers keep theirs.
    Raises: ValueError for a table of another number of trained classes; CheckpointError, where the file cannot be
    written.
    """
    names = classes.train_names
    if len(names) != network.num_classes:
        raise ValueError(f"classes must have {network.num_classes} that are trained, found {len(names)}")
    description = {
        "version": VERSION,
        "architecture": network.architecture,
        "settings": network.settings,
        "class_names": list(names),
        "classes": classes.to_json(),
        "preprocessing": PREPROCESSING,
        "about": about,
    }
    write_weights(path, network, {KEY: json.dumps(description, sort_keys=True)}, dtype)


def _description(path: Path, text: str) -> Description:
    description = parse_description(path, text, Description, VERSION)
    if description.architecture not in NETWORKS or description.preprocessing != PREPROCESSING:
        reason = f"{description.architecture} with {description.preprocessing}"
        raise CheckpointError(str(path), f"{reason}, which this program does not know how to do. Update the program")
    try:
        table = description.class_table()
    except DatasetError as error:
        raise CheckpointError(str(path), f"its class table cannot be used: {error}. {AGAIN}") from None
    if table is not None and table.train_names != tuple(description.class_names):
        raise CheckpointError(str(path), f"names other classes than its class table has. {AGAIN}")
    return description


def _require_architecture(checkpoint: Checkpoint, architecture: str) -> None:
    stated = checkpoint.description.architecture if checkpoint.description else architecture
    if stated != architecture:
        reason = f"says that it holds {stated}, asked for was {architecture}. Ask for {stated}"
        raise CheckpointError(str(checkpoint.path), reason)


def _without_helpers(path: Path, tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Mapping[str, int]]:
    """The tensors of a student, and how many there are of each part beside it; of other files all tensors."""
    if not any(map(_STUDENT.match, tensors)):
        return tensors, {}
    kept: dict[str, Tensor] = {}
    left_out: Counter[str] = Counter()
    for name, tensor in tensors.items():
        helpers = [part for part in name.split(".") if any(word in part for word in _HELPERS)]
        own = _STUDENT.sub("", name)
        if helpers:
            left_out[helpers[0]] += 1
        elif own in kept:
            raise CheckpointError(str(path), f"holds {own} twice, with and without 'student'. Keep one of each")
        else:
            kept[own] = tensor
    return kept, left_out


def _num_classes(checkpoint: Checkpoint, architecture: str) -> int | None:
    """How many classes a file's network scores; None where it holds no such network."""
    heads = [checkpoint.tensors[name] for name in sorted(NETWORKS[architecture].head) if name in checkpoint.tensors]
    return next((head.shape[0] for head in heads if head.ndim == 4), None)


def _with_counters(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, and zeros for the batch norms' counters that an old file lacks."""
    counters = {name for name in expected if name.endswith(_COUNTER) and name not in tensors}
    has_any = any(name.endswith(_COUNTER) for name in tensors)
    return {**tensors, **({} if has_any else dict.fromkeys(counters, torch.tensor(0)))}


def _stage(name: str) -> str:
    return name.partition(".")[0]


def _renamed(name: str, foreign_names: Mapping[str, str]) -> str:
    part = next((part for part in foreign_names if name.startswith(f"{part}.")), None)
    return name if part is None else foreign_names[part] + name.removeprefix(part)
