"""PSPNet: what a trunk sees, beside means of it over regions of four sizes.

The parameters have the names and shapes of the published networks.

Reference: Zhao et al., Pyramid Scene Parsing Network, CVPR 2017; as in Liu et al., ECCV 2020, whose student is
`pspnet18`, and whose teacher is `pspnet101`. Its other student, `pspnet-mobilenetv2`, was not released: the head is
that of `pspnet18`, on MobileNetV2 up to its 320 channels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from segtrain.models.mobilenet import mobilenet_v2
from segtrain.models.network import IMAGE, SegmentationNetwork, Stage, at_image_size, upsample
from segtrain.models.resnet import BasicBlock, resnet, resnet101_deep_stem
from segtrain.models.trunk import Trunk, convolution

REGIONS = (1, 2, 3, 6)  # along each side
AUXILIARY_CHANNELS = 256
DROPOUT = 0.1


class LateDilatedBlock(BasicBlock):
    """Only the second convolution dilates, as in the published PSPNet-18."""

    dilates_first = False


def resnet18_late_dilated(output_stride: int) -> Trunk:
    return resnet(LateDilatedBlock, (2, 2, 2, 2), output_stride)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What tells one PSPNet from another: its trunk, the channels of which it scores classes, and those of layer3."""

    trunk: Callable[[int], Trunk]
    channels: int
    layer3_channels: int


VARIANTS: Mapping[str, Variant] = {
    "pspnet18": Variant(trunk=resnet18_late_dilated, channels=256, layer3_channels=256),
    "pspnet101": Variant(trunk=resnet101_deep_stem, channels=512, layer3_channels=1024),
    "pspnet-mobilenetv2": Variant(trunk=mobilenet_v2, channels=256, layer3_channels=96),
}


class PyramidPooling(nn.Module):
    """The features, and beside them as many channels of their means over regions of ever finer grids.

    Reference: Zhao et al., CVPR 2017, figure 3.
    """

    def __init__(self, in_channels: int, regions: Sequence[int] = REGIONS) -> None:
        """regions: along each side, of each grid."""
        super().__init__()
        channels = in_channels // len(regions)
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(along),
                convolution(in_channels, channels, 1),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
            for along in regions
        )
        self.out_channels = in_channels + channels * len(regions)

    def forward(self, features: Tensor) -> Tensor:
        size = features.shape[-2:]
        return torch.cat((features, *(upsample(branch(features), size) for branch in self.features)), dim=1)


def classifier(in_channels: int, channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(in_channels, channels, 3),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Dropout2d(DROPOUT),
        nn.Conv2d(channels, num_classes, 1),
    )


class PSPNet(SegmentationNetwork):
    """Its auxiliary head scores the features of layer3; `context` is the pyramid, and `reduced`, of fewer channels and
    not rectified yet, all that the decoder reads of it.

    The trunk's convolutions begin as of He et al., ICCV 2015, by what they give; the other layers as torch has them.
    """

    head = frozenset({"cls.4.weight", "cls.4.bias", "aux.4.weight", "aux.4.bias"})
    cuts = ("layer2",)

    def __init__(
        self, architecture: str, *, num_classes: int, output_stride: int, checkpoint_activations: bool = False
    ) -> None:
        super().__init__(
            architecture,
            num_classes=num_classes,
            output_stride=output_stride,
            checkpoint_activations=checkpoint_activations,
        )
        variant = VARIANTS[architecture]
        trunk = variant.trunk(output_stride)
        self.add_trunk(trunk)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:  # as in `begin_convolutions`
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.ppm = PyramidPooling(trunk.out_channels)
        self.cls = classifier(self.ppm.out_channels, variant.channels, num_classes)
        self.aux = classifier(variant.layer3_channels, AUXILIARY_CHANNELS, num_classes)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (
            *self.trunk_stages,
            Stage("context", (self.stage_names[-1],), self.ppm),
            Stage("reduced", ("context",), self.cls[:2]),
            Stage("decoder", ("reduced",), self._run_decoder),
            Stage("logits", ("decoder", IMAGE), at_image_size),
        )

    @property
    def auxiliary_stages(self) -> tuple[Stage, ...]:
        return (Stage("aux", ("layer3",), self.aux),)

    def _run_decoder(self, reduced: Tensor) -> Tensor:
        return self.cls[3:](functional.relu(reduced))  # not in place: others may hold it
