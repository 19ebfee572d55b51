"""Weights that anybody can compute, so that networks are compared without shipping weights: fill "vplr-fill-1".

Each tensor is drawn from a generator seeded by its own name, so a part has the same values alone and within a whole.
`fill_checksums.json` holds the CRC-32 of the filled tensors' bytes, little-endian.
"""

import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

CHECKSUMS = Path(__file__).with_name("fill_checksums.json")
CONSTANTS = frozenset({"flow_mean", "flow_std", "rgb_mean"})  # stay as their network made them
TRANSPOSED = re.compile(r"deconv\d|upsampled_flow\d_to_\d")
SDC_LAYER = re.compile(r"conv\d(_1)?|deconv\d")
PART = 2**16  # values that are drawn at a time, which stay in the cache until they are in their place


def fill_key(name: str) -> str:
    """The name of a tensor within its own network, whatever wraps that."""
    return re.sub(r"^((module|flownet2)\.)+", "", name)


def weight_gain(key: str) -> float:
    """What keeps the outputs of each kind of layer in a useful range."""
    parts = key.split(".")
    if key.startswith("flownets_d.predict_flow2."):
        return 60.0  # its flow is divided by 20
    if any(re.fullmatch(r"predict_flow\d", part) for part in parts):
        return 0.5
    if parts[0] == "final_flow":
        return 0.3
    if parts[0].startswith("flownet") or (len(parts) >= 3 and SDC_LAYER.fullmatch(parts[0])):
        return 1.0
    return 0.8  # segmentation networks


def weight_fan_in(key: str, shape: tuple[int, ...]) -> float:
    """How many products are summed into one output; a transposed convolution of stride 2 has a quarter of its taps."""
    if any(TRANSPOSED.fullmatch(part) for part in key.split(".")):
        return shape[0] * shape[2] * shape[3] / 4
    return float(np.prod(shape[1:]))


def fill_values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float64 values of the tensor with this name and shape."""
    return np.concatenate([*fill_parts(name, shape)]).reshape(shape)


def fill_parts(name: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The same values one after the other, PART of them at a time."""
    key, size = fill_key(name), math.prod(shape)
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    for start in range(0, size, PART):
        yield scaled(generator.standard_normal(min(PART, size - start)), key, shape)


def scaled(values: np.ndarray, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a normal distribution as those of the tensor with this key and shape."""
    if key.endswith("num_batches_tracked"):
        return 0 * values
    if key.endswith("running_mean"):
        return 0.05 * values
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(values)
    if key.endswith("bias"):
        return 0.01 * values
    if key.endswith("weight") and len(shape) == 1:
        return 1 + 0.1 * values
    if key.endswith("weight"):
        values *= weight_gain(key) * np.sqrt(2 / weight_fan_in(key, shape))
        return values
    raise KeyError(f"the fill has no rule for {key!r}")


def fill(module: nn.Module) -> None:
    """Fill a network's parameters and buffers in place, largest first on two threads."""

    def fill_one(entry: tuple[str, Tensor]) -> None:
        name, tensor = entry
        with torch.no_grad():  # holds for a thread, not for a process
            parts = fill_parts(name, tuple(tensor.shape))
            for part, values in zip(tensor.view(-1).split(PART), parts, strict=True):
                part.copy_(torch.from_numpy(values))

    entries = [entry for entry in module.state_dict().items() if fill_key(entry[0]) not in CONSTANTS]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(fill_one, sorted(entries, key=lambda entry: -entry[1].numel())))


def wrong_checksums(network: str, state: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Which of a filled network's tensors are not what the fill says; `network` is a key of fill_checksums.json.

    Compares every tensor that has a checksum of its own, then, where there is one of them, all together, in their order
    ("all").
    """
    expected = json.loads(CHECKSUMS.read_text())[network]
    wrong, together = [], 0
    for name, tensor in state:
        values = tensor.detach().cpu().numpy()
        content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        together = zlib.crc32(content, together)
        if name in expected["crc32"] and zlib.crc32(content) != expected["crc32"][name]:
            wrong.append(name)
    return wrong if together == expected.get("crc32_all_in_order", together) else [*wrong, "all"]
