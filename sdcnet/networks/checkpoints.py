"""Files of weights: the published networks' and ours. The only place that knows names which other programs gave.

Published files are those of ``torch.save``, read without running any code in them. The parameters lie in the file
itself or under "state_dict", and their names may begin with "module." and "flownet2.". A video predictor's file leaves
the FlowNet2 that gave its flows out, or holds it too. Ours are safetensors files, which describe the network and what
it expects as JSON, under the metadata's key "sdcnet".
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.training.checksums import dtype_name
from jobs.training.descriptions import build_without_values, network_of_another, parse_description
from jobs.training.weights import WeightFile, fill_network, read_weights, write_weights
from sdcnet.networks.flownet2 import FlowNet2
from sdcnet.networks.kernels import KernelPredictor, SDCNet2DKernels, SDCNet2DReconKernels
from sdcnet.networks.predictor import SDCNet2D, SDCNet2DRecon, VideoPredictor
from sdcnet.networks.raft import RAFT
from sdcnet.networks.raft_names import is_of_authors, is_of_raft, published_names

VERSION = 1  # of the description in our files
KEY = "sdcnet"
FLOWNET2 = "FlowNet2"
RAFT_NAME = "RAFT"
PUBLISHED: Mapping[str, type[VideoPredictor]] = {"SDCNet2D": SDCNet2D, "SDCNet2DRecon": SDCNet2DRecon}
PREDICTORS: Mapping[str, type[VideoPredictor]] = {
    **PUBLISHED,
    "SDCNet2DKernels": SDCNet2DKernels,
    "SDCNet2DReconKernels": SDCNet2DReconKernels,
}
_FRAMES = {
    "colour_order": "BGR",
    "frame_levels": [0, 255],
    "frame_normalised": "(frame - mean of its sample and channel over all frames) / 255",
}
_FLOWS = {"flow_direction": "backward, in pixels", "flow_normalised": "(flow - flow_mean) / (3 flow_std)"}
PREPROCESSING: Mapping[str, Mapping[str, object]] = {
    FLOWNET2: _FRAMES,
    RAFT_NAME: {"colour_order": "RGB", "frame_levels": [0, 255], "frame_normalised": "frame / 127.5 - 1"},
    **{name: {**_FRAMES, **_FLOWS} for name in PREDICTORS},
}

_PREFIXES = re.compile(r"^((module|flownet2)\.)+")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What one of our files says of its network; `about` is for people: its origin, data, recipe, scores."""

    architecture: str
    settings: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    about: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file of weights as it was read.

    `tensors` have their names within their own network. `fields` are the numbers and strings that a published file
    holds beside them, such as its epoch. Only our files have a `description`. `digest` is the SHA-256 of the file.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    fields: Mapping[str, str | int | float]
    description: Description | None
    digest: str

    @property
    def has_flownet2(self) -> bool:
        return any(map(_of_flownet2, self.tensors))

    @property
    def has_predictor(self) -> bool:
        return "final_flow.weight" in self.tensors

    @property
    def raft(self) -> str | None:
        """The variant of the RAFT in the file, if it holds one."""
        if not any(map(is_of_raft, self.tensors)):
            return None
        return (
            "large"
            if any(name.startswith(("mask_predictor.", "update_block.mask.")) for name in self.tensors)
            else "small"
        )

    @property
    def predictor(self) -> str | None:
        """Which of the PREDICTORS the file says it holds, if it says so."""
        stated = self.description.architecture if self.description else self.fields.get("arch")
        return str(stated) if stated in PREDICTORS else None

    @property
    def input_flow(self) -> str | None:
        """The name of the flow that a predictor was trained to refine, if the file says so."""
        recipe = self.description.about.get("recipe") if self.description else None
        return recipe.get("input_flow") if isinstance(recipe, dict) else None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is in a file of weights: its networks (none where it is foreign), and what it says of them."""

    networks: tuple[str, ...]
    num_tensors: int
    num_values: int
    dtypes: tuple[str, ...]
    settings: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    about: Mapping[str, Any]


def read_checkpoint(path: Path, sha256: str | None = None) -> Checkpoint:
    """Read a file of weights, whoever wrote it. sha256: what the whole file must have, in hex.

    Raises: CheckpointError, where it is none, not whole, another than that, or for another program of ours.
    """
    file = read_weights(path, _PREFIXES, sha256)
    if other := network_of_another(file.metadata, KEY):
        reason = f"holds {other}, expected one of motion. Give a file of FlowNet2, RAFT or a video predictor"
        raise CheckpointError(str(path), reason)
    return _checkpoint(path, file)


def inspect_checkpoint(path: Path, sha256: str | None = None) -> Summary:
    """What is in a file of weights, which may be foreign, or for another program of ours. sha256: as above."""
    file = read_weights(path, _PREFIXES, sha256)
    checkpoint, other = _checkpoint(path, file), network_of_another(file.metadata, KEY)
    networks = [other] if other else []
    networks += [checkpoint.predictor or " or ".join(PUBLISHED)] if checkpoint.has_predictor else []
    networks += [FLOWNET2] if checkpoint.has_flownet2 else []
    networks += [f"{RAFT_NAME} {checkpoint.raft}"] if checkpoint.raft else []
    description = checkpoint.description
    return Summary(
        networks=tuple(networks),
        num_tensors=len(checkpoint.tensors),
        num_values=sum(tensor.numel() for tensor in checkpoint.tensors.values()),
        dtypes=tuple(sorted({dtype_name(tensor) for tensor in checkpoint.tensors.values()})),
        settings=description.settings if description else {},
        preprocessing=description.preprocessing if description else {},
        about=description.about if description else checkpoint.fields,
    )


def load_predictor(path: Path, architecture: str | None = None) -> VideoPredictor:
    """The video predictor in a file, in evaluation mode; a FlowNet2 in the same file is left alone.

    Published files name their architecture. `architecture` (a key of PREDICTORS) is for those that do not: their
    shapes can't tell a prediction from three frames from a reconstruction out of two. No published file holds
    kernels: `kernels.with_kernels` adds them to what was loaded.

    Raises: CheckpointError; ParameterError, where parameters are missing, unexpected or of another shape.
    """
    return predictor_of(read_checkpoint(path), architecture)


def load_flownet2(path: Path) -> FlowNet2:
    """The FlowNet2 in a file of its own, or in a video predictor's, in evaluation mode.

    Raises: CheckpointError; ParameterError, where parameters are missing, unexpected or of another shape.
    """
    return flownet2_of(read_checkpoint(path))


def load_raft(path: Path) -> RAFT:
    """The RAFT in a file of torchvision's, of its authors', or of ours, in evaluation mode.

    Raises: CheckpointError; ParameterError, where parameters are missing, unexpected or of another shape.
    """
    return raft_of(read_checkpoint(path))


def convert_checkpoint(
    source: Path, destination: Path, architecture: str | None = None, sha256: str | None = None
) -> None:
    """Write the network in any readable file as a file of ours.

    architecture: as `load_predictor` takes it, or FLOWNET2; where a file holds two networks, it says which is wanted.
    sha256: what the source must have, in hex.
    Raises: CheckpointError; ParameterError, where parameters are missing, unexpected or of another shape.
    """
    checkpoint = read_checkpoint(source, sha256)
    if architecture is None and checkpoint.has_flownet2 and checkpoint.has_predictor:
        choice = " or ".join((FLOWNET2, *PUBLISHED))
        raise CheckpointError(str(source), f"holds two networks. Say which architecture is wanted: {choice}")
    network: VideoPredictor | FlowNet2 | RAFT
    if architecture == FLOWNET2 or (architecture is None and checkpoint.has_flownet2):
        network = flownet2_of(checkpoint)
    elif architecture is None and checkpoint.raft:
        network = raft_of(checkpoint)
    else:
        network = predictor_of(checkpoint, architecture)
    about = checkpoint.description.about if checkpoint.description else checkpoint.fields
    save_network(destination, network, about=about)


def save_network(
    path: Path,
    network: VideoPredictor | FlowNet2 | RAFT,
    *,
    about: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network as a file of ours, whole or not at all; the same network gives the same bytes.

    about: JSON values for people who inspect the file. dtype: of the parameters; buffers keep theirs.
    Raises: CheckpointError, where the file cannot be written.
    """
    architecture = type(network).__name__
    description = {
        "version": VERSION,
        "architecture": architecture,
        "settings": {} if isinstance(network, FlowNet2) else network.settings,
        "preprocessing": PREPROCESSING[architecture],
        "about": about,
    }
    write_weights(path, network, {KEY: json.dumps(description, sort_keys=True)}, dtype)


def _of_flownet2(name: str) -> bool:
    return name.startswith("flownet")


@cache
def _predictor_names() -> frozenset[str]:
    with torch.device("meta"):
        return frozenset(SDCNet2D().state_dict())


def _checkpoint(path: Path, file: WeightFile) -> Checkpoint:
    description = _description(path, file.metadata[KEY]) if KEY in file.metadata else None
    return Checkpoint(path=path, tensors=file.tensors, fields=file.fields, description=description, digest=file.digest)


def _description(path: Path, text: str) -> Description:
    description = parse_description(path, text, Description, VERSION)
    if description.preprocessing != PREPROCESSING.get(description.architecture):
        reason = (
            f"{description.architecture} with {description.preprocessing}, which this program does not know how to do"
        )
        raise CheckpointError(str(path), f"{reason}. Update the program")
    return description


def predictor_of(checkpoint: Checkpoint, architecture: str | None = None) -> VideoPredictor:
    """The video predictor in a file that was read: see `load_predictor`."""
    path, stated = checkpoint.path, checkpoint.predictor
    if architecture not in (None, *PREDICTORS):
        raise ValueError(f"architecture must be one of {', '.join(PREDICTORS)}, found {architecture!r}")
    if stated and architecture and stated != architecture:
        raise CheckpointError(str(path), f"says that it holds {stated}, asked for was {architecture}. Ask for {stated}")
    chosen = architecture or stated
    if chosen is None and checkpoint.has_predictor:
        choice = " or ".join(PUBLISHED)
        raise CheckpointError(str(path), f"does not say which architecture it holds. Say it: {choice}")
    kind = PREDICTORS[chosen or "SDCNet2D"]  # for a foreign file: both have the names that it lacks
    if checkpoint.description and checkpoint.has_predictor:
        settings = checkpoint.description.settings
    else:
        settings = {"num_history": _num_history(checkpoint.tensors, kind)}
    candidates = checkpoint.tensors
    if checkpoint.has_predictor:
        candidates = {name: tensor for name, tensor in candidates.items() if not _of_flownet2(name)}
    advice = "Is it the right file, whole, and of this architecture?"
    if checkpoint.has_flownet2 and not checkpoint.has_predictor:
        advice = "The file holds FlowNet2: give that of the video predictor"
    elif issubclass(kind, KernelPredictor) and "kernels.vertical.weight" not in candidates:
        advice = "It holds no kernels: load the architecture without them, and add them by with_kernels"
    return fill_network(path, build_without_values(path, kind, settings), candidates, advice)


def flownet2_of(checkpoint: Checkpoint) -> FlowNet2:
    """The FlowNet2 in a file that was read: see `load_flownet2`."""
    path, candidates = checkpoint.path, checkpoint.tensors
    if checkpoint.has_predictor:
        candidates = {name: tensor for name, tensor in candidates.items() if name not in _predictor_names()}
    advice = "Is it the right file, and whole?"
    if checkpoint.has_predictor and not checkpoint.has_flownet2:
        advice = "The file holds a video predictor alone: give FlowNet2's own"
    return fill_network(path, build_without_values(path, FlowNet2, {}), candidates, advice)


def raft_of(checkpoint: Checkpoint) -> RAFT:
    """The RAFT in a file that was read: see `load_raft`."""
    path, variant = checkpoint.path, checkpoint.raft
    advice = "Is it the right file, whole, and one of RAFT?"
    if checkpoint.has_flownet2 or checkpoint.has_predictor:
        advice = "The file holds another network: give one of RAFT"
    candidates = checkpoint.tensors
    if any(map(is_of_authors, candidates)):
        candidates = published_names(candidates)
    # of a foreign file, all names that RAFT has are missing
    return fill_network(path, build_without_values(path, RAFT, {"variant": variant or "large"}), candidates, advice)


def _num_history(tensors: Mapping[str, Tensor], kind: type[VideoPredictor]) -> int:
    """How many past frames a published predictor sees, by the channels of its first layer: 3 a frame, 2 a flow."""
    first = tensors.get("conv1.0.weight")
    num_channels = first.shape[1] if first is not None and first.ndim == 4 else 0
    num_frames, rest = divmod(num_channels + 2, 5)
    return num_frames - kind.sees_target if num_frames > 1 and rest == 0 else 2  # 2: the shapes will tell the fault
