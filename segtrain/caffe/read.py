"""Files of Caffe's weights: the blobs of each layer, by the layer's name.

Nothing in a file is run, and nothing proves what it holds, unless its publisher states a SHA-256.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf.message import DecodeError
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.files import open_regular
from jobs.training.checksums import AGAIN
from jobs.training.weights import MORE_MEMORY, require_room, unreadable
from segtrain.caffe.messages import messages

LARGEST = 2**31 - 1  # bytes, of a message of protobuf
MOST_LAYERS = 100_000  # a network has some hundreds
MOST_AXES = 32  # of a blob, in Caffe


@dataclass(frozen=True, kw_only=True)
class CaffeFile:
    """What a file holds. blobs: float32, as "LAYER[INDEX]", of a convolution [0] its weights, [1] its bias. digest: the
    SHA-256 of the whole file."""

    path: Path
    blobs: Mapping[str, Tensor]
    digest: str


def read_caffemodel(path: Path, sha256: str | None = None) -> CaffeFile:
    """Read a .caffemodel, of layers in the present form or in the one before it.

    sha256: what the file must have, in hex.
    Raises: CheckpointError, where it is no such file, not whole, or holds less than it claims.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not 0 < size <= LARGEST:
                raise CheckpointError(str(path), f"{size} bytes, expected weights, at most 2 GiB. {AGAIN}")
            require_room(path, size)
            content = file.read(size)
    except OSError as error:
        raise unreadable(path, error) from error
    except MemoryError as error:
        raise CheckpointError(str(path), f"the memory does not hold it. {MORE_MEMORY}") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise CheckpointError(str(path), f"its SHA-256 is {found}, expected {sha256}. {AGAIN}")
    try:
        net = messages().net.FromString(content)
        del content
        blobs = dict(_once(path, _blobs(net)))
    except MemoryError as error:
        raise CheckpointError(str(path), f"the memory does not hold it. {MORE_MEMORY}") from error
    except (DecodeError, ValueError) as error:
        raise CheckpointError(str(path), f"no file of Caffe's weights, or not whole ({error}). {AGAIN}") from error
    return CaffeFile(path=path, blobs=blobs, digest=found)


def _blobs(net: Any) -> Iterator[tuple[str, Tensor]]:
    of_form = messages()
    for kind, layers in ((of_form.layer, net.layer), (of_form.old_layer, net.layers)):
        if len(layers) > MOST_LAYERS:
            raise ValueError(f"{len(layers)} layers, expected at most {MOST_LAYERS}")
        for raw in layers:
            layer = kind.FromString(raw)
            name = layer.name.decode()
            if layer.blobs and not name.isprintable():
                raise ValueError(f"a layer is called {name!a:.40}, expected a name")
            for index, blob in enumerate(layer.blobs):
                label = f"{name}[{index}]"
                yield label, _tensor(label, of_form.blob.FromString(blob))


def _once(path: Path, blobs: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    seen = set()
    for name, tensor in blobs:
        if name in seen:
            raise CheckpointError(str(path), f"holds {name} twice. Is it the right file?")
        seen.add(name)
        yield name, tensor


def _tensor(name: str, blob: Any) -> Tensor:
    """Raises: ValueError where there are not as many values as the shape claims, DecodeError where it has none."""
    if blob.HasField("shape"):
        shape = tuple(messages().shape.FromString(blob.shape).dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    if len(shape) > MOST_AXES or min(shape, default=1) < 1:
        lengths = "x".join(map(str, shape[:4])) + ("…" if len(shape) > 4 else "")
        raise ValueError(
            f"{name} claims the shape {lengths}, expected 1 or more along each of {MOST_AXES} axes at most"
        )
    values = b"".join(blob.data)
    if len(values) != 4 * math.prod(shape):
        claimed = "x".join(map(str, shape)) or "1"
        raise ValueError(f"{name} claims {claimed} values, holds {len(values) / 4:g}")
    return torch.from_numpy(np.frombuffer(values, "<f4").astype(np.float32)).reshape(shape)
