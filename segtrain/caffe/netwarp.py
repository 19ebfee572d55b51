"""The module of NetWarp in a published file, apart from the network that it is in.

Reference: Gadde et al., "Semantic Video CNNs through Representation Warping", ICCV 2017.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.training.weights import require_parameters
from segtrain.caffe.names import NETWARP, Mean
from segtrain.models.network import SegmentationNetwork
from segtrain.video.learnt import save_learnt
from segtrain.video.netwarp import PUBLISHED_MEAN, NetWarp

ADVICE = "Is it the right file, whole? Without a single layer of NetWarp it is read as the network alone"
AT = "reduced"  # the stage of `pspnet101` whose features are mixed: conv5_4, before it is rectified
FLOW_CNN = {"conv1": (16, 8, 3), "conv2": (32, 16, 3), "conv3": (2, 32, 3), "conv4": (2, 4, 1)}  # out, in, side


def split(blobs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The blobs of a network, and those of the module of NetWarp, of which there may be none."""
    module = {name: blob for name, blob in blobs.items() if name.partition("[")[0] in NETWARP}
    return {name: blob for name, blob in blobs.items() if name not in module}, module


def read_module(path: Path, blobs: Mapping[str, Tensor], channels: int, mean: Mean) -> dict[str, Tensor]:
    """The module's parameters by our names: "flow_cnn.conv1.weight" …, and "current" and "previous", of `channels`.

    They are as published, for images in levels 0…255, blue first, less their mean, and so is what `NetWarp` makes of
    frames where it does as published.
    mean: what is taken from images, which has to be that.
    Raises: CheckpointError where it is another, or features get a bias, which the module does not have; ParameterError,
    where layers are missing, unexpected or of another shape.
    """
    if mean != PUBLISHED_MEAN:
        reason = f"holds a module of NetWarp, which sees images less {PUBLISHED_MEAN}, not less {mean}"
        raise CheckpointError(str(path), f"{reason}. Leave --mean out")
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


def save_module(
    path: Path, network: SegmentationNetwork, module: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Write what `read_module` gives as a file of what was learnt on the network, whole or not at all.

    Raises: CheckpointError, where the file cannot be written.
    """
    learnt = NetWarp(network, at=(AT,), form="released", gate="none", as_published=True, fine_tune=False)
    learnt.load_state_dict({f"mixings.{AT}.{name}": tensor for name, tensor in module.items()})
    save_learnt(path, learnt, about)
