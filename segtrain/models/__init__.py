"""Segmentation networks: trunks, and DeepLabV3+ on them.

`deepwv3plus`, `srnx50`, `srnx101`, `resnet50` and `resnet101` are those of Zhu et al., CVPR 2019, by their published
parameters; `resnet18` and `mobilenetv2` are for small machines and real time, with a head of half as many channels.
"""

from torch import nn

from segtrain.models.deeplab import Architecture, DeepLabV3Plus
from segtrain.models.mobilenet import mobilenet_v2
from segtrain.models.resnet import resnet18, resnet50, resnet101
from segtrain.models.se_resnext import se_resnext50, se_resnext101
from segtrain.models.wide_resnet import wide_resnet38

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(name="deepwv3plus", trunk=wide_resnet38),
        Architecture(name="srnx50", trunk=se_resnext50),
        Architecture(name="srnx101", trunk=se_resnext101),
        Architecture(name="resnet50", trunk=resnet50),
        Architecture(name="resnet101", trunk=resnet101),
        Architecture(name="resnet18", trunk=resnet18, head_channels=128),
        Architecture(name="mobilenetv2", trunk=mobilenet_v2, head_channels=128),
    )
}


def build_model(
    name: str, *, num_classes: int = 19, output_stride: int = 8, checkpoint_activations: bool = False
) -> DeepLabV3Plus:
    """A network that has learnt nothing yet: [B,3,H,W], normalised -> logits [B,num_classes,H,W].

    name: a key of ARCHITECTURES. output_stride: 8 is finer, 16 four times cheaper in the deepest stages.
    Its weights are drawn from torch's own generator, which the caller seeds.
    Raises: ValueError, where an argument is not one of those.
    Reference: He et al., ICCV 2015, for the beginning of all convolutions.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"the network must be one of {', '.join(ARCHITECTURES)}, found {name!r}")
    network = DeepLabV3Plus(
        ARCHITECTURES[name],
        num_classes=num_classes,
        output_stride=output_stride,
        checkpoint_activations=checkpoint_activations,
    )
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
