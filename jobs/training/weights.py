"""Files of weights as such: read without running any code in them, written whole, and put into networks strictly.

What a file's parameters are called, and which network they are of, is known elsewhere: `sdcnet.networks.checkpoints`
for motion, `segtrain.checkpoints` for segmentation.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from jobs.errors import CheckpointError, ParameterError
from jobs.files import write_whole

AGAIN = "Copy or download it again"

_NUMPY_SCALAR: Any = np.float64().__reduce__()[0]
# Scores beside the parameters may be NumPy's numbers: data without code, which torch refuses unless it is told of them.
_NUMPY_NUMBERS: list[Any] = [
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # its name until NumPy 2
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int64")),
]
# Tensors, fields and metadata, as of WeightFile.
_Content = tuple[Mapping[str, Tensor], Mapping[str, str | int | float], Mapping[str, str]]
_Network = TypeVar("_Network", bound=nn.Module)
_Description = TypeVar("_Description")


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """What a file of weights holds.

    `tensors` have the names of their own network, whatever wrapped that. `fields` are the numbers and strings that a
    file of torch.save holds beside them, such as an epoch; `metadata` are the texts of a safetensors file. `digest` is
    the SHA-256 of the whole file.
    """

    tensors: Mapping[str, Tensor]
    fields: Mapping[str, str | int | float]
    metadata: Mapping[str, str]
    digest: str


def read_weights(path: Path, prefixes: re.Pattern[str]) -> WeightFile:
    """Read a safetensors file, or one of torch.save: the parameters themselves, or a dictionary with "state_dict".

    prefixes: matches what other programs put before the names of parameters.
    Raises: CheckpointError, where it is no file of weights, not whole, or holds anything but data.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            start = file.read(9)
            file.seek(0)
            if not start:
                raise CheckpointError(str(path), f"empty file (0 bytes), expected weights. {AGAIN}")
            is_safetensors = start[8:] == b"{"  # after eight bytes that hold its length, the header is a JSON object
            tensors, fields, metadata = (_read_safetensors if is_safetensors else _read_torch)(path, file)
    except OSError as error:
        raise _unreadable(path, error) from error
    own = {prefixes.sub("", name): tensor for name, tensor in tensors.items()}
    if len(own) < len(tensors):
        raise CheckpointError(str(path), "holds some parameters twice, with and without a prefix. Keep one of each")
    return WeightFile(tensors=own, fields=fields, metadata=metadata, digest=sha256)


def digest(path: Path) -> str:
    """The SHA-256 of a file of weights. Raises CheckpointError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def parse_description(path: Path, text: str, kind: type[_Description], version: int) -> _Description:
    """The JSON object with which a file of ours describes its network, as the dataclass that it was written from.

    Raises: CheckpointError, where it is none, or of another version.
    """
    try:
        content = json.loads(text)
        found = content.pop("version")
        description = kind(**content) if found == version else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(str(path), f"its description cannot be read ({error!r}). {AGAIN}") from error
    if description is None:
        reason = f"a file of version {found}, this program reads version {version}. Update the program"
        raise CheckpointError(str(path), reason)
    return description


def write_weights(
    path: Path, network: nn.Module, metadata: Mapping[str, str], dtype: torch.dtype = torch.float32
) -> None:
    """Write a network's state as a safetensors file, whole or not at all; the same state gives the same bytes.

    dtype: of the parameters; buffers keep theirs. Raises: CheckpointError, where the file cannot be written.
    """
    parameters = {name for name, _ in network.named_parameters()}
    tensors = {
        name: tensor.to("cpu", dtype if name in parameters else tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    try:
        write_whole(path, save(tensors, metadata=dict(metadata)))  # save_file would let nobody but the owner read it
    except (OSError, SafetensorError) as error:
        raise CheckpointError(str(path), f"cannot be written ({error}). Is there space, and the folder?") from error


def build_without_values(path: Path, kind: Callable[..., _Network], settings: Mapping[str, Any]) -> _Network:
    """The network that a file describes, on the meta device, where it costs nothing and draws no random numbers.

    Raises: CheckpointError, where there is no network of these settings.
    """
    try:
        with torch.device("meta"):
            return kind(**settings)
    except (TypeError, ValueError) as error:
        reason = f"its settings {dict(settings)} are no network's ({error}). {AGAIN}"
        raise CheckpointError(str(path), reason) from error


def fill_network(path: Path, network: _Network, tensors: Mapping[str, Tensor], advice: str) -> _Network:
    """The network, so far without values, with exactly these parameters and buffers; in evaluation mode.

    Raises: ParameterError; CheckpointError, where a value is not finite.
    """
    require_parameters(path, type(network).__name__, network.state_dict(), tensors, advice)
    network.to_empty(device="cpu").load_state_dict(tensors)
    return network.eval()


def require_parameters(
    path: Path, network: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor], advice: str
) -> None:
    """Raises ParameterError where a file's tensors aren't those expected, CheckpointError where one isn't finite."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    shapes = {name: (_shape(found[name]), _shape(expected[name])) for name in expected if name in found}
    mismatched = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    if missing or unexpected or mismatched:
        raise ParameterError(str(path), network, missing, unexpected, mismatched, advice)
    for name, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(str(path), f"{name} holds values that are not finite. Take weights from before that")


def dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(str(path), f"cannot be read ({error.strerror}), expected a file of weights")


def _read_safetensors(path: Path, file: BinaryIO) -> _Content:
    content = file.read()
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return load(content), {}, header.get("__metadata__", {})
    except (SafetensorError, ValueError, AttributeError) as error:
        raise CheckpointError(str(path), f"damaged safetensors file ({error}). {AGAIN}") from error


def _read_torch(path: Path, file: BinaryIO) -> _Content:
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            content = torch.load(file, map_location="cpu", weights_only=True)
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
        reason = "no dictionary of named tensors, nor one under state_dict. Is it the right file?"
        raise CheckpointError(str(path), reason)
    return state, _plain_fields(content), {}


def _plain_fields(content: Mapping[str, object]) -> dict[str, str | int | float]:
    """The strings and numbers of a file, those of NumPy turned into Python's."""
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in content.items()}
    return {name: value for name, value in values.items() if isinstance(value, str | int | float)}


def _shape(tensor: Tensor) -> str:
    """A tensor's shape, and its dtype where that is none that could hold a parameter."""
    return f"{'' if tensor.is_floating_point() else dtype_name(tensor)}{list(tensor.shape)}"
