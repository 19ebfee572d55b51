"""The published networks of Caffe that are known, and how they call our layers.

Reference: of `pspnet101`, the network of Gadde et al., "Semantic Video CNNs through Representation Warping", ICCV 2017;
of `fcn8s`, those of Shelhamer et al., "Clockwork Convnets for Video Semantic Segmentation", 2016.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from segtrain.models.pspnet import REGIONS, PSPNet

Mean = tuple[float, float, float]  # of levels 0…255: blue, green, red


@dataclass(frozen=True, kw_only=True)
class KnownNetwork:
    """A published network.

    first: our name of the layer that reads images. scores: its name of the one that scores classes. marks: its layers
    that tell it from others. means: what was taken from images, by the number of classes.
    """

    first: str
    scores: str
    marks: tuple[str, ...]
    means: Mapping[int, Mean]


KNOWN: Mapping[str, KnownNetwork] = {
    "pspnet101": KnownNetwork(
        first="layer0.0",
        scores="conv6",
        marks=("conv1_1_3x3_s2", "conv5_4", "conv6"),
        means={19: (103.939, 116.779, 123.68)},
    ),
    "fcn8s": KnownNetwork(
        first="conv1_1",
        scores="score_fr",
        marks=("conv1_1", "fc6", "score_fr"),
        means={
            19: (72.78044, 83.21195, 73.45286),  # Cityscapes
            21: (104.00699, 116.66877, 122.67891),  # PASCAL VOC
            40: (116.2, 97.2, 92.3),  # NYUDv2
        },
    ),
}

NORM = "/bn"  # after a convolution's name: the batch norm of what it gives
# As other implementations of PSPNet call these layers; what is documented of the published file does not say it.
STEM = ("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3")
PYRAMID = "conv5_3_pool{regions}_conv"
BRANCHES = tuple(reversed(REGIONS))  # in the order in which the published network joins them, after the features

# Layers of FCN-8s that nothing trains, and how many times each enlarges scores; files may lack them.
UPSCORES: Mapping[str, int] = {"upscore2": 2, "upscore_pool4": 2, "upscore8": 8}

# Layers of the module of NetWarp, beside those of the network, and what they are in ours.
NETWARP: Mapping[str, str] = {
    "conv1_flo_1": "flow_cnn.conv1",
    "conv2_flo_1": "flow_cnn.conv2",
    "conv3_flo_1": "flow_cnn.conv3",
    "flo_transformed_1": "flow_cnn.conv4",
    "conv5_4_0_w": "current",
    "conv5_4_1_w": "previous",
}


def layers_of(network: nn.Module) -> dict[str, str]:
    """Of each convolution and batch norm of a network, by our name, the name of the published layer.

    An auxiliary head has none.
    """
    convolutions = _pspnet_layers(network) if isinstance(network, PSPNet) else None
    found: dict[str, str] = {}
    layer: str | None = None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            layer = name if convolutions is None else convolutions.get(name)
            if layer is not None:
                found[name] = layer
        elif isinstance(module, nn.BatchNorm2d) and layer is not None:  # of the convolution before it
            found[name] = layer + NORM
    return found


def _pspnet_layers(network: PSPNet) -> dict[str, str]:
    found = {f"layer0.{3 * number}": layer for number, layer in enumerate(STEM)}
    for stage in range(1, 5):
        for number in range(len(network.get_submodule(f"layer{stage}"))):  # type: ignore[arg-type]
            block, published = f"layer{stage}.{number}", f"conv{stage + 1}_{number + 1}"
            found[f"{block}.conv1"] = f"{published}_1x1_reduce"
            found[f"{block}.conv2"] = f"{published}_3x3"
            found[f"{block}.conv3"] = f"{published}_1x1_increase"
            found[f"{block}.downsample.0"] = f"{published}_1x1_proj"
    for number, regions in enumerate(REGIONS):
        found[f"ppm.features.{number}.1"] = PYRAMID.format(regions=regions)
    return {**found, "cls.0": "conv5_4", "cls.4": "conv6"}
