"""Published networks of Caffe as files of ours: what they do otherwise is folded into the weights.

They compute what the published ones do, but in two places. The zeros around an image are ImageNet's mean colour here,
and the published mean there: half a level of 255 apart at most in `pspnet101`; in `fcn8s` 1 (PASCAL VOC), 31 (NYUDv2)
or 50 (Cityscapes), and scores near the border depend on it. And `pspnet101` pools to as many places as the published
network where an image has 8n + 1 pixels along each side, as the published tiles have; of others, to one less at times.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jobs.errors import CheckpointError
from jobs.training.weights import fill_network, require_parameters
from propagate.data.classes import ClassTable, builtin_tables, load_classes
from segtrain.caffe.folding import border_levels, fold_branches, fold_images
from segtrain.caffe.names import BRANCHES, KNOWN, UPSCORES, Mean, layers_of
from segtrain.caffe.netwarp import read_module, save_module, split
from segtrain.caffe.read import CaffeFile, read_caffemodel
from segtrain.checkpoints import save_network
from segtrain.models.fcn import FCN8s, enlarge
from segtrain.models.network import SegmentationNetwork
from segtrain.models.pspnet import REGIONS, PSPNet, classifier
from segtrain.models.registry import build_network

ADVICE = "Is it the right file, whole, of the published network?"
WARPED = "pspnet101"  # the network whose files may hold NetWarp too
SEED = 0  # of an auxiliary head, which no published file has
DEFAULT_CLASSES = {19: "cityscapes"}
TOLERANCE = 1e-5  # of the values of a fixed kernel
_CONVOLUTION = ("weight", "bias")  # in the order of a layer's blobs
_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A converted network, and what differs from the published one.

    border: how far, in levels 0…255, the colour around images is from the published one, at most. drawn: the part
    that the file lacks, which begins as in a training. module: NetWarp's parameters, as `read_module` says, where the
    file has them; they are no part of the network.
    """

    network: SegmentationNetwork
    mean: Mean
    border: float
    drawn: str | None
    module: Mapping[str, Tensor]


def convert(
    source: Path,
    destination: Path,
    *,
    classes: ClassTable | None = None,
    mean: Mean | None = None,
    sha256: str | None = None,
) -> tuple[Conversion, ClassTable]:
    """Write the network of a .caffemodel as a file of ours, whole or not at all.

    A module of NetWarp goes to a file of its own, `module_path(destination)`, to be used on that network.

    classes: what its scores mean, by train ids; by default, where there are 19, Cityscapes. mean: what was taken from
    images, blue, green, red, in levels 0…255; by default as published. sha256: what the file must have, in hex.
    Raises: CheckpointError; ParameterError, where layers are missing, unexpected or of another shape.
    """
    file = read_caffemodel(source, sha256)
    conversion = convert_network(file, mean)
    table = _require_classes(source, classes, conversion.network.num_classes)
    about = {"converted": {"from": source.name, "sha256": file.digest, "mean_bgr": list(conversion.mean)}}
    if conversion.drawn:
        about["converted"]["not_trained"] = conversion.drawn
    save_network(destination, conversion.network, classes=table, about=about)
    if conversion.module:
        save_module(module_path(destination), conversion.network, conversion.module, about)
    return conversion, table


def module_path(destination: Path) -> Path:
    """Where the module of NetWarp goes that is in the same file as a network."""
    return destination.with_name(f"{destination.stem}-netwarp.safetensors")


def convert_network(file: CaffeFile, mean: Mean | None = None) -> Conversion:
    """The network in a file, which is known by the names of its layers, in evaluation mode.

    mean: what was taken from images, blue, green, red; by default that of the published network of so many classes.
    Raises: CheckpointError; ParameterError, where layers are missing, unexpected or of another shape.
    """
    path = file.path
    architecture = _recognised(file)
    known = KNOWN[architecture]
    blobs, of_module = split(file.blobs) if architecture == WARPED else (dict(file.blobs), {})
    scores = blobs.get(f"{known.scores}[0]")
    num_classes = scores.shape[0] if scores is not None and scores.ndim else 1
    with torch.device("meta"):
        network = build_network(architecture, num_classes=num_classes)
    fixed = {layer: blobs.pop(f"{layer}[0]", None) for layer in UPSCORES} if isinstance(network, FCN8s) else {}
    state = _state(path, network, blobs)
    for layer, kernel in fixed.items():
        if kernel is not None:
            _require_bilinear(path, layer, kernel, num_classes)
    chosen = mean or known.means.get(num_classes)
    if chosen is None:
        means = ", ".join(map(str, known.means))
        reason = f"scores {num_classes} classes; the mean of the images is known for {means}. Say it by --mean"
        raise CheckpointError(str(path), reason)
    weight, shift = fold_images(state[f"{known.first}.weight"], chosen)
    state[f"{known.first}.weight"] = weight
    drawn, module = None, {}
    if isinstance(network, PSPNet):
        state["layer0.1.running_mean"] = state["layer0.1.running_mean"] - shift
        state["cls.0.weight"] = fold_branches(state["cls.0.weight"], REGIONS, BRANCHES)
        state |= _drawn_auxiliary(network)
        drawn = "aux"
        channels = network.get_parameter("cls.0.weight").shape[0]
        module = read_module(path, of_module, channels, chosen) if of_module else {}
    else:
        state[f"{known.first}.bias"] = state[f"{known.first}.bias"] + shift
    filled = fill_network(path, network, state, ADVICE)
    return Conversion(network=filled, mean=chosen, border=border_levels(chosen), drawn=drawn, module=module)


def _recognised(file: CaffeFile) -> str:
    for architecture, known in KNOWN.items():
        if any(f"{mark}[0]" in file.blobs for mark in known.marks):
            return architecture
    found = ", ".join(list(file.blobs)[:4]) or "no layer with weights"
    expected = " or ".join(KNOWN)
    raise CheckpointError(str(file.path), f"holds {found} …, expected the layers of {expected}. {ADVICE}")


def _state(path: Path, network: SegmentationNetwork, blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's parameters and buffers as the file has them, but for those of its auxiliary head."""
    places: dict[str, tuple[str, Tensor]] = {}  # of each blob, which parameter it is
    expected: dict[str, Tensor] = {}
    counters: dict[str, Tensor] = {}
    for name, layer in layers_of(network).items():
        module = network.get_submodule(name)
        is_norm = isinstance(module, nn.BatchNorm2d)
        own = module.state_dict()
        for index, parameter in enumerate(each for each in (_NORM if is_norm else _CONVOLUTION) if each in own):
            places[f"{layer}[{index}]"] = f"{name}.{parameter}", own[parameter]
            expected[f"{layer}[{index}]"] = own[parameter].view(1, -1, 1, 1) if is_norm else own[parameter]
        if is_norm:
            counters[f"{name}.num_batches_tracked"] = torch.tensor(0)
    found = {name: _without_axes(blob, expected[name]) if name in expected else blob for name, blob in blobs.items()}
    require_parameters(path, network.architecture, expected, found, ADVICE)
    return {name: found[blob].reshape(own.shape) for blob, (name, own) in places.items()} | counters


def _without_axes(blob: Tensor, expected: Tensor) -> Tensor:
    """Older files give all shapes four axes: those before the first that counts are 1."""
    more = blob.ndim - expected.ndim
    is_padded = more > 0 and math.prod(blob.shape[:more]) == 1
    return blob.reshape(blob.shape[more:]) if is_padded else blob


def _require_bilinear(path: Path, layer: str, kernel: Tensor, num_classes: int) -> None:
    """Raises: CheckpointError where a layer that enlarges scores does it by another kernel than `enlarge`."""
    stride, shape = UPSCORES[layer], list(kernel.shape)
    expected = enlarge(torch.ones(1, 1, 1, 1), stride)  # what one pixel becomes
    grouped, dense = ([num_classes, channels, 2 * stride, 2 * stride] for channels in (1, num_classes))
    if shape not in (grouped, dense):
        raise CheckpointError(str(path), f"{layer}[0] has the shape {shape}, expected {grouped} or {dense}. {ADVICE}")
    if shape == dense:  # from each class to each, of which only the way to itself counts
        expected = torch.eye(num_classes)[:, :, None, None] * expected
    difference = (kernel - expected).abs().max().item()
    if not difference <= TOLERANCE:
        reason = f"{layer} was trained: its kernel is up to {difference:.2g} from the bilinear one, which fcn8s has"
        raise CheckpointError(str(path), f"{reason}. Take a file in which that is fixed")


def _drawn_auxiliary(network: PSPNet) -> dict[str, Tensor]:
    """An auxiliary head that has learnt nothing: the same for the same network, whatever torch's generator."""
    channels, in_channels = network.get_parameter("aux.0.weight").shape[:2]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        head = classifier(in_channels, channels, network.num_classes)
    return {f"aux.{name}": tensor for name, tensor in head.state_dict().items()}


def _require_classes(path: Path, classes: ClassTable | None, num_classes: int) -> ClassTable:
    if classes is None and num_classes in DEFAULT_CLASSES:
        classes = load_classes(DEFAULT_CLASSES[num_classes])
    if classes is None:
        tables = ", ".join(builtin_tables())
        reason = f"scores {num_classes} classes; say which by --classes: a YAML file, or one of {tables}"
        raise CheckpointError(str(path), reason)
    if len(classes.train_names) != num_classes:
        found = f"class table '{classes.name}' has {len(classes.train_names)} that are trained"
        raise CheckpointError(str(path), f"scores {num_classes} classes, {found}. Give that of its training")
    return classes
