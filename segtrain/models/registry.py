"""Which networks there are, by name, and the trunks that DeepLabV3+ stands on. Nothing here needs torch by itself.

A new trunk is one file and one line in TRUNKS; a new family of networks one file and one line in NETWORKS.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.registry import Registry

if TYPE_CHECKING:
    from segtrain.models.network import SegmentationNetwork
    from segtrain.models.trunk import Trunk

# Each makes a trunk for an output stride.
TRUNKS: "Registry[Callable[[int], Trunk]]" = Registry(
    "trunk",
    {
        "deepwv3plus": "segtrain.models.wide_resnet:wide_resnet38",
        "srnx50": "segtrain.models.se_resnext:se_resnext50",
        "srnx101": "segtrain.models.se_resnext:se_resnext101",
        "resnet50": "segtrain.models.resnet:resnet50",
        "resnet101": "segtrain.models.resnet:resnet101",
        "resnet18": "segtrain.models.resnet:resnet18",
        "mobilenetv2": "segtrain.models.mobilenet:mobilenet_v2",
    },
)

# The family of each, which is told the name.
NETWORKS: "Registry[type[SegmentationNetwork]]" = Registry(
    "network",
    {
        **dict.fromkeys(TRUNKS, "segtrain.models.deeplab:DeepLabV3Plus"),
        **dict.fromkeys(("pspnet18", "pspnet101", "pspnet-mobilenetv2"), "segtrain.models.pspnet:PSPNet"),
        "fcn8s": "segtrain.models.fcn:FCN8s",
        **dict.fromkeys(
            ("lateral-mobilenetv1", "lateral-mobilenetv2", "lateral-resnet18"), "segtrain.models.lateral:LateralNetwork"
        ),
    },
)


def build_network(
    name: str, *, num_classes: int = 19, output_stride: int = 8, checkpoint_activations: bool = False
) -> "SegmentationNetwork":
    """A network that has learnt nothing yet: [B,3,H,W], normalised -> logits [B,num_classes,H,W].

    name: of NETWORKS. output_stride: 8 is finer, 16 four times cheaper in the deepest stages. checkpoint_activations:
    see `SegmentationNetwork`. Its weights are drawn from torch's own generator, which the caller seeds.
    Raises: ValueError, where an argument is not one of those.
    """
    return NETWORKS[name](
        name,
        num_classes=num_classes,
        output_stride=output_stride,
        checkpoint_activations=checkpoint_activations,
    )
