"""Files of weights: the published networks' and ours. The only place that knows names which other programs gave.

Published files are those of ``torch.save``, read without running any code in them. The parameters lie in the file
itself or under "state_dict", and their names may begin with "module." and "flownet2.". A video predictor's file leaves
the FlowNet2 that gave its flows out, or holds it too. Ours are safetensors files, which describe the network and what
it expects as JSON, under the metadata's key "sdcnet".
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sdcnet.errors import CheckpointError, ParameterError
from sdcnet.flownet2 import FlowNet2
from sdcnet.kernels import KernelPredictor, SDCNet2DKernels, SDCNet2DReconKernels
from sdcnet.predictor import SDCNet2D, SDCNet2DRecon, VideoPredictor

VERSION = 1  # of the description in our files
FLOWNET2 = "FlowNet2"
PUBLISHED: Mapping[str, type[VideoPredictor]] = {"SDCNet2D": SDCNet2D, "SDCNet2DRecon": SDCNet2DRecon}
PREDICTORS: Mapping[str, type[VideoPredictor]] = {
    **PUBLISHED,
    "SDCNet2DKernels": SDCNet2DKernels,
    "SDCNet2DReconKernels": SDCNet2DReconKernels,
}
AGAIN = "Copy or download it again"
_FRAMES = {
    "colour_order": "BGR",
    "frame_levels": [0, 255],
    "frame_normalised": "(frame - mean of its sample and channel over all frames) / 255",
}
_FLOWS = {"flow_direction": "backward, in pixels", "flow_normalised": "(flow - flow_mean) / (3 flow_std)"}
PREPROCESSING: Mapping[str, Mapping[str, object]] = {
    FLOWNET2: _FRAMES,
    **{name: {**_FRAMES, **_FLOWS} for name in PREDICTORS},
}

_PREFIXES = re.compile(r"^((module|flownet2)\.)+")
_NUMPY_SCALAR: Any = np.float64().__reduce__()[0]
# Scores beside the parameters may be NumPy's numbers: data without code, which torch refuses unless it is told of them.
_NUMPY_NUMBERS: list[Any] = [
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # its name until NumPy 2
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int64")),
]
_Network = TypeVar("_Network", bound=nn.Module)


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
    holds beside them, such as its epoch. Only our files have a `description`.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    fields: Mapping[str, str | int | float]
    description: Description | None

    @property
    def has_flownet2(self) -> bool:
        return any(map(_of_flownet2, self.tensors))

    @property
    def has_predictor(self) -> bool:
        return "final_flow.weight" in self.tensors

    @property
    def predictor(self) -> str | None:
        """Which of the PREDICTORS the file says it holds, if it says so."""
        stated = self.description.architecture if self.description else self.fields.get("arch")
        return str(stated) if stated in PREDICTORS else None

    @property
    def input_flow(self) -> str | None:
        """The name of the flow that a predictor was trained to refine, if the file says so."""
        recipe = self.description.about.get("recipe", {}) if self.description else {}
        return recipe.get("input_flow")


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


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of weights, whoever wrote it. Raises CheckpointError where it is not one, or not whole."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(str(path), f"cannot be read ({error.strerror}), expected a file of weights") from error
    if not start:
        raise CheckpointError(str(path), f"empty file (0 bytes), expected weights. {AGAIN}")
    is_safetensors = start[8:] == b"{"  # after eight bytes that hold its length, the header is a JSON object
    return _read_safetensors(path) if is_safetensors else _read_torch(path)


def digest(path: Path) -> str:
    """The SHA-256 of a file of weights. Raises CheckpointError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(str(path), f"cannot be read ({error.strerror}), expected a file of weights") from error


def inspect_checkpoint(path: Path) -> Summary:
    """What is in a file of weights, which may be foreign. Raises CheckpointError where it cannot be read."""
    checkpoint = read_checkpoint(path)
    networks = [checkpoint.predictor or " or ".join(PUBLISHED)] if checkpoint.has_predictor else []
    networks += [FLOWNET2] if checkpoint.has_flownet2 else []
    description = checkpoint.description
    return Summary(
        networks=tuple(networks),
        num_tensors=len(checkpoint.tensors),
        num_values=sum(tensor.numel() for tensor in checkpoint.tensors.values()),
        dtypes=tuple(sorted({_dtype_name(tensor) for tensor in checkpoint.tensors.values()})),
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
    return _predictor_of(read_checkpoint(path), architecture)


def load_flownet2(path: Path) -> FlowNet2:
    """The FlowNet2 in a file of its own, or in a video predictor's, in evaluation mode.

    Raises: CheckpointError; ParameterError, where parameters are missing, unexpected or of another shape.
    """
    return _flownet2_of(read_checkpoint(path))


def convert_checkpoint(source: Path, destination: Path, architecture: str | None = None) -> None:
    """Write the network in any readable file as a file of ours.

    architecture: as of `load_predictor`, or FLOWNET2; where a file holds two networks, it says which is wanted.
    Raises: CheckpointError; ParameterError, where parameters are missing, unexpected or of another shape.
    """
    checkpoint = read_checkpoint(source)
    if architecture is None and checkpoint.has_flownet2 and checkpoint.has_predictor:
        choice = " or ".join((FLOWNET2, *PUBLISHED))
        raise CheckpointError(str(source), f"holds two networks. Say which architecture is wanted: {choice}")
    network: VideoPredictor | FlowNet2
    if architecture == FLOWNET2 or (architecture is None and checkpoint.has_flownet2):
        network = _flownet2_of(checkpoint)
    else:
        network = _predictor_of(checkpoint, architecture)
    about = checkpoint.description.about if checkpoint.description else checkpoint.fields
    save_network(destination, network, about=about)


def save_network(
    path: Path,
    network: VideoPredictor | FlowNet2,
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
        "settings": network.settings if isinstance(network, VideoPredictor) else {},
        "preprocessing": PREPROCESSING[architecture],
        "about": about,
    }
    parameters = {name for name, _ in network.named_parameters()}
    tensors = {
        name: tensor.to("cpu", dtype if name in parameters else tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, partial, metadata={"sdcnet": json.dumps(description, sort_keys=True)})
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(str(path), f"cannot be written ({error}). Is there space, and the folder?") from error


def _of_flownet2(name: str) -> bool:
    return name.startswith("flownet")


@cache
def _predictor_names() -> frozenset[str]:
    with torch.device("meta"):
        return frozenset(SDCNet2D().state_dict())


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(str(path), f"damaged safetensors file ({error}). {AGAIN}") from error
    description = _read_description(path, metadata["sdcnet"]) if "sdcnet" in metadata else None
    return Checkpoint(path=path, tensors=_own_names(path, tensors), fields={}, description=description)


def _read_description(path: Path, text: str) -> Description:
    try:
        content = json.loads(text)
        version = content.pop("version")
        description = Description(**content) if version == VERSION else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(str(path), f"its description cannot be read ({error!r}). {AGAIN}") from error
    if description is None:
        reason = f"a file of version {version}, this program reads version {VERSION}. Update the program"
        raise CheckpointError(str(path), reason)
    if description.preprocessing != PREPROCESSING.get(description.architecture):
        reason = (
            f"{description.architecture} with {description.preprocessing}, which this program does not know how to do"
        )
        raise CheckpointError(str(path), f"{reason}. Update the program")
    return description


def _read_torch(path: Path) -> Checkpoint:
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a reader of pickles raises anything, depending on the bytes
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            reason = f"holds objects of another program ({refused[1]}), expected tensors and numbers; it was not opened"
        else:
            first_sentence = str(error).split(". ")[0]
            reason = f"no file of weights, or not whole ({type(error).__name__}: {first_sentence}). {AGAIN}"
        raise CheckpointError(str(path), reason) from error
    content = content if isinstance(content, dict) else {}
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            str(path), "no dictionary of named tensors, nor one under state_dict. Is it the right file?"
        )
    return Checkpoint(path=path, tensors=_own_names(path, state), fields=_plain_fields(content), description=None)


def _plain_fields(content: Mapping[str, object]) -> dict[str, str | int | float]:
    """The strings and numbers of a file, those of NumPy turned into Python's."""
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in content.items()}
    return {name: value for name, value in values.items() if isinstance(value, str | int | float)}


def _own_names(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that they have in their own network, without what wrapped that."""
    own = {_PREFIXES.sub("", name): tensor for name, tensor in tensors.items()}
    if len(own) < len(tensors):
        raise CheckpointError(str(path), "holds some parameters twice, with and without a prefix. Keep one of each")
    return own


def _predictor_of(checkpoint: Checkpoint, architecture: str | None) -> VideoPredictor:
    path, stated = str(checkpoint.path), checkpoint.predictor
    if architecture not in (None, *PREDICTORS):
        raise ValueError(f"architecture must be one of {', '.join(PREDICTORS)}, found {architecture!r}")
    if stated and architecture and stated != architecture:
        raise CheckpointError(path, f"says that it holds {stated}, asked for was {architecture}. Ask for {stated}")
    chosen = architecture or stated
    if chosen is None and checkpoint.has_predictor:
        choice = " or ".join(PUBLISHED)
        raise CheckpointError(path, f"does not say which architecture it holds. Say it: {choice}")
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
    return _filled(_build(path, kind, settings), candidates, path, advice)


def _flownet2_of(checkpoint: Checkpoint) -> FlowNet2:
    path, candidates = str(checkpoint.path), checkpoint.tensors
    if checkpoint.has_predictor:
        candidates = {name: tensor for name, tensor in candidates.items() if name not in _predictor_names()}
    advice = "Is it the right file, and whole?"
    if checkpoint.has_predictor and not checkpoint.has_flownet2:
        advice = "The file holds a video predictor alone: give FlowNet2's own"
    return _filled(_build(path, FlowNet2, {}), candidates, path, advice)


def _num_history(tensors: Mapping[str, Tensor], kind: type[VideoPredictor]) -> int:
    """How many past frames a published predictor sees, by the channels of its first layer: 3 a frame, 2 a flow."""
    first = tensors.get("conv1.0.weight")
    num_channels = first.shape[1] if first is not None and first.ndim == 4 else 0
    num_frames, rest = divmod(num_channels + 2, 5)
    return num_frames - kind.sees_target if num_frames > 1 and rest == 0 else 2  # 2: the shapes will tell the fault


def _build(path: str, kind: Callable[..., _Network], settings: Mapping[str, Any]) -> _Network:
    """A network without values: on the meta device, where it costs nothing and draws no random numbers."""
    try:
        with torch.device("meta"):
            return kind(**settings)
    except (TypeError, ValueError) as error:
        raise CheckpointError(path, f"its settings {dict(settings)} are no network's ({error}). {AGAIN}") from error


def _filled(network: _Network, tensors: Mapping[str, Tensor], path: str, advice: str) -> _Network:
    """The network, so far without values, with exactly these parameters and buffers; in evaluation mode."""
    expected = network.state_dict()
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    shapes = {name: (_shape(tensors[name]), _shape(expected[name])) for name in expected if name in tensors}
    mismatched = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    if missing or unexpected or mismatched:
        raise ParameterError(path, type(network).__name__, missing, unexpected, mismatched, advice)
    _require_finite(path, tensors.items())
    network.to_empty(device="cpu").load_state_dict(tensors)
    return network.eval()


def _shape(tensor: Tensor) -> str:
    """A tensor's shape, and its dtype where that is none that could hold a parameter."""
    return f"{'' if tensor.is_floating_point() else _dtype_name(tensor)}{list(tensor.shape)}"


def _require_finite(path: str, tensors: Iterable[tuple[str, Tensor]]) -> None:
    for name, tensor in tensors:
        if not torch.isfinite(tensor).all():
            raise CheckpointError(path, f"{name} holds values that are not finite. Take weights from before that")
