"""Files of weights as such: read without running any code in them, written whole, and put into networks strictly.

What a file's parameters are called, and which network they are of, is known elsewhere: `sdcnet.networks.checkpoints`
for motion, `segtrain.checkpoints` for segmentation.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from jobs.errors import CheckpointError, ParameterError
from jobs.files import open_regular, whole_file
from jobs.training.checksums import (
    AGAIN,
    CHECKSUM,
    ZIP_START,
    checksum,
    dtype_name,
    prove_members,
    say_unproven,
)

MORE_MEMORY = "Take a machine with more, or see whether it is the right file"

_NUMPY_SCALAR: Any = np.float64().__reduce__()[0]
# Scores beside the parameters may be NumPy's numbers: data without code, which torch refuses unless it is told of them.
_NUMPY_NUMBERS: list[Any] = [
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # its name until NumPy 2
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int64")),
]
_PARAMETER_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_Network = TypeVar("_Network", bound=nn.Module)


class _Content(NamedTuple):
    """Tensors, fields and metadata, as of WeightFile, and whether a checksum in the file has proven them."""

    tensors: Mapping[str, Tensor]
    fields: Mapping[str, str | int | float]
    metadata: Mapping[str, str]
    is_proven: bool


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


def read_weights(path: Path, prefixes: re.Pattern[str], sha256: str | None = None) -> WeightFile:
    """Read a safetensors file, or one of torch.save: the parameters themselves, or a dictionary with "state_dict".

    What it holds is proven by the checksum that it carries; of a file without one a warning is logged, once, unless
    its SHA-256 is given. A safetensors file is read once, others are not held in memory beside their tensors.

    prefixes: matches what other programs put before the names of parameters. sha256: what the file must have, in hex.
    Raises: CheckpointError, where it is no file of weights, not whole, or holds anything but data.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise CheckpointError(str(path), f"empty file (0 bytes), expected weights. {AGAIN}")
            require_room(path, size)
            is_safetensors = file.read(9)[8:] == b"{"  # after eight bytes that hold its length, the header is JSON
            file.seek(0)
            source = io.BytesIO(file.read()) if is_safetensors else file
            found = hashlib.file_digest(source, "sha256").hexdigest()
            if sha256 is not None and found != sha256.lower():
                raise CheckpointError(str(path), f"its SHA-256 is {found}, expected {sha256}. {AGAIN}")
            source.seek(0)
            content = (_read_safetensors if is_safetensors else _read_torch)(path, source)
    except OSError as error:
        raise unreadable(path, error) from error
    except MemoryError as error:
        raise CheckpointError(str(path), f"the memory does not hold it. {MORE_MEMORY}") from error
    if not content.is_proven and sha256 is None:
        say_unproven(path)
    _require_plain(path, content.tensors)
    own = {prefixes.sub("", name): tensor for name, tensor in content.tensors.items()}
    if len(own) < len(content.tensors):
        raise CheckpointError(str(path), "holds some parameters twice, with and without a prefix. Keep one of each")
    return WeightFile(tensors=own, fields=content.fields, metadata=content.metadata, digest=found)


def digest(path: Path) -> str:
    """The SHA-256 of a file of weights. Raises: CheckpointError where it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def write_weights(
    path: Path, network: nn.Module, metadata: Mapping[str, str], dtype: torch.dtype = torch.float32
) -> None:
    """Write a network's state as a safetensors file, whole or not at all; the same state gives the same bytes.

    It carries a checksum of its tensors and texts, which proves it whenever it is read.

    dtype: of the parameters; buffers keep theirs. Raises: CheckpointError, where the file cannot be written.
    """
    parameters = {name for name, _ in network.named_parameters()}
    tensors = {
        name: tensor.to("cpu", dtype if name in parameters else tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    try:
        # save_file would let nobody but the owner read it
        content = memoryview(save(tensors, metadata={**metadata, CHECKSUM: checksum(tensors, metadata)}))
        length = 8 + int.from_bytes(content[:8], "little")
        with whole_file(path) as file:
            file.write(_in_order(bytes(content[8:length])))
            file.write(content[length:])
    except (OSError, SafetensorError) as error:
        raise CheckpointError(str(path), f"cannot be written ({error}). Is there space, and the folder?") from error


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
    """Raises: ParameterError where a file's tensors aren't those expected, CheckpointError where one isn't finite."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    shapes = {name: (_shape(found[name]), _shape(expected[name])) for name in expected if name in found}
    mismatched = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    if missing or unexpected or mismatched:
        raise ParameterError(str(path), network, missing, unexpected, mismatched, advice)
    for name, tensor in found.items():
        if not _is_finite(tensor):
            raise CheckpointError(str(path), f"{name} holds values that are not finite. Take weights from before that")


def _is_finite(tensor: Tensor) -> bool:
    if tensor.dtype not in _PARAMETER_DTYPES or not tensor.numel():
        return bool(torch.isfinite(tensor).all())
    return all(torch.isfinite(end) for end in torch.aminmax(tensor))  # a thirtieth of the time, and no copy


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """What to raise where a file of weights cannot be read."""
    inside = ", ".join(sorted(each.name for each in path.glob("*.safetensors"))) if path.is_dir() else ""
    advice = f"; give one that is in there: {inside}" if inside else ""
    return CheckpointError(str(path), f"cannot be read ({error.strerror}), expected a file of weights{advice}")


def require_room(path: Path, num_bytes: int) -> None:
    """Raises: CheckpointError where a file's weights are more than this machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if num_bytes > memory:
        reason = f"{num_bytes / 1e9:,.0f} GB of weights, but this machine's memory has {memory / 1e9:,.0f}"
        raise CheckpointError(str(path), f"{reason}. {MORE_MEMORY}")


def _require_plain(path: Path, tensors: Mapping[Any, Tensor]) -> None:
    """Raises: CheckpointError unless these are names, and tensors whose values lie in memory, or would fit there."""
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not name.isprintable():
            found = ascii(name) if isinstance(name, str | int) else f"a {type(name).__name__}"
            raise CheckpointError(str(path), f"calls a parameter {found:.40}, expected a name. Is it the right file?")
        is_plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
        if type(tensor) is not Tensor or not is_plain:
            raise CheckpointError(str(path), f"{name} is no plain tensor, expected values in rows. {AGAIN}")
    require_room(path, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()))


def _read_safetensors(path: Path, file: BinaryIO) -> _Content:
    content = file.read()
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except MemoryError:
        raise
    except Exception as error:  # types that torch lacks, sizes that overflow: it depends on the bytes
        raise CheckpointError(str(path), f"damaged safetensors file ({error}). {AGAIN}") from error
    metadata = header.get("__metadata__") or {}
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum(tensors, metadata):
        raise CheckpointError(str(path), f"damaged: what it holds is not what its checksum was made of. {AGAIN}")
    return _Content(tensors, {}, metadata, CHECKSUM in metadata)


def _in_order(header: bytes) -> bytes:
    """The beginning of a safetensors file, its length and the header, with the texts in the order of their keys."""
    content = json.loads(header)
    content["__metadata__"] = dict(sorted(content["__metadata__"].items()))
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _read_torch(path: Path, file: BinaryIO) -> _Content:
    try:
        is_zip = file.read(len(ZIP_START)) == ZIP_START
        is_proven = is_zip and prove_members(file)
        file.seek(0)
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a reader of pickles raises anything, depending on the bytes
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            reason = f"holds objects of another program ({refused[1]}), expected tensors and numbers; it was not opened"
        else:
            first_sentence = str(error).partition("\n")[0].split(". ")[0]
            reason = f"no file of weights, or not whole ({type(error).__name__}: {first_sentence}). {AGAIN}"
        raise CheckpointError(str(path), reason) from error
    content = content if isinstance(content, dict) else {}
    state = content.get("state_dict", content)
    if {"optimiser", "network", "version"} <= content.keys():
        reason = "the state of a training, expected weights. Give the .safetensors file beside it"
        raise CheckpointError(str(path), reason)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        reason = "no dictionary of named tensors, nor one under state_dict. Is it the right file?"
        raise CheckpointError(str(path), reason)
    # detached, they are without whatever attributes the file would give them
    tensors = {name: Tensor.detach(value) for name, value in state.items()}
    return _Content(tensors, _plain_fields(content), {}, is_proven)


def _plain_fields(content: Mapping[Any, object]) -> dict[str, str | int | float]:
    """The strings and numbers of a file, those of NumPy turned into Python's; but for what cannot be printed."""
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in content.items()}
    return {
        name: value
        for name, value in values.items()
        if isinstance(name, str) and isinstance(value, str | int | float) and _can_be_printed(name, value)
    }


def _can_be_printed(*values: object) -> bool:
    try:
        for value in values:
            str(value).encode()
    except ValueError:  # half a character
        return False
    return True


def _shape(tensor: Tensor) -> str:
    """A tensor's shape, and its dtype where that is none that could hold a parameter."""
    return f"{'' if tensor.dtype in _PARAMETER_DTYPES else dtype_name(tensor)}{list(tensor.shape)}"
