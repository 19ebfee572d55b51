"""The module of NetWarp in a published file, apart from the network that it is in.

Reference: Gadde et al., "Semantic Video CNNs through Representation Warping", ICCV 2017.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.training.weights import require_parameters
from segtrain.caffe.names import NETWARP

ADVICE = "Is it the right file, whole? Without a single layer of NetWarp it is read as the network alone"
FLOW_CNN = {"conv1": (16, 8, 3), "conv2": (32, 16, 3), "conv3": (2, 32, 3), "conv4": (2, 4, 1)}  # out, in, side


def split(blobs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The blobs of a network, and those of the module of NetWarp, of which there may be none."""
    module = {name: blob for name, blob in blobs.items() if name.partition("[")[0] in NETWARP}
    return {name: blob for name, blob in blobs.items() if name not in module}, module


def read_module(path: Path, blobs: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The module's parameters by our names: "flow_cnn.conv1.weight" …, and "current" and "previous", of `channels`.

    They are as published: for images in levels 0…255, blue first, less their mean.
    Raises: CheckpointError where features get a bias, which the module does not have; ParameterError, where layers are
    missing, unexpected or of another shape.
    """
    expected: dict[str, Tensor] = {}
    for layer, name in NETWARP.items():
        out, into, side = FLOW_CNN.get(name.rpartition(".")[2], (channels, 1, 1))
        expected[f"{layer}[0]"] = torch.empty(out, into, side, side, device="meta")
        expected[f"{layer}[1]"] = torch.empty(out, device="meta")
    found = {name: blob.reshape(-1) if name.endswith("[1]") else blob for name, blob in blobs.items()}
    require_parameters(path, "NetWarp", expected, found, ADVICE)
    state: dict[str, Tensor] = {}
    for layer, name in NETWARP.items():
        weight, bias = found[f"{layer}[0]"], found[f"{layer}[1]"]
        if name.startswith("flow_cnn"):
            state |= {f"{name}.weight": weight, f"{name}.bias": bias}
        elif bias.any():
            largest = bias.abs().max().item()
            raise CheckpointError(str(path), f"{layer}[1] adds up to {largest:.2g} to features, expected 0. {ADVICE}")
        else:
            state[name] = weight.flatten()
    return state
