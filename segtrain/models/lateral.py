"""A trunk down to stride 32, and a decoder that grows its features again, with lateral connections from earlier ones.

Reference: Feng et al., "TWNet: Tamed Warping Network", for the encoders and where the connections begin; the text
leaves their widths open, which are those of the same authors' TapLab, as is the bridge.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from segtrain.models.mobilenet import mobilenet_v1, mobilenet_v2
from segtrain.models.network import IMAGE, SegmentationNetwork, Stage, at_image_size, begin_convolutions, upsample
from segtrain.models.pspnet import PyramidPooling
from segtrain.models.resnet import BasicBlock, resnet
from segtrain.models.trunk import Trunk, convolution

BRIDGE_CHANNELS = 512  # half of what the bridge sees: the other half are means over regions
REGIONS = (1, 2, 4, 8)
CHANNELS = (256, 128, 64, 64)  # of the bridge, and after each connection, the coarsest first


def resnet18(output_stride: int) -> Trunk:
    return resnet(BasicBlock, (2, 2, 2, 2), output_stride)


# Each, and the channels of its layers 1 to 3, at strides 4, 8 and 16.
VARIANTS: Mapping[str, tuple[Callable[[int], Trunk], tuple[int, int, int]]] = {
    "lateral-mobilenetv1": (mobilenet_v1, (128, 256, 512)),
    "lateral-mobilenetv2": (mobilenet_v2, (24, 32, 96)),
    "lateral-resnet18": (resnet18, (64, 128, 256)),
}


def rectified(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(in_channels, out_channels, kernel_size), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
    )


class LateralNetwork(SegmentationNetwork):
    """`context` is the bridge; `dec1` and `dec2`, at strides 16 and 8, are the paper's Layer1 and Layer2.

    Each reads what is coarser, and of the trunk's stage of its own size the `lateral` connection, counted as the stage.
    """

    head = frozenset({"classifier.weight", "classifier.bias"})
    output_strides = (32,)
    cuts = ("lateral1", "lateral2", "lateral3")

    def __init__(
        self, architecture: str, *, num_classes: int, output_stride: int, checkpoint_activations: bool = False
    ) -> None:
        super().__init__(
            architecture,
            num_classes=num_classes,
            output_stride=output_stride,
            checkpoint_activations=checkpoint_activations,
        )
        make_trunk, lateral_channels = VARIANTS[architecture]
        trunk = make_trunk(output_stride)
        self.add_trunk(trunk)
        pooling = PyramidPooling(BRIDGE_CHANNELS, REGIONS)
        self.bridge = nn.Sequential(
            nn.Conv2d(trunk.out_channels, BRIDGE_CHANNELS, 1), pooling, rectified(pooling.out_channels, CHANNELS[0], 1)
        )
        self.dec1, self.dec2, self.dec3 = (rectified(before, after, 3) for before, after in pairwise(CHANNELS))
        self.lateral3, self.lateral2, self.lateral1 = (
            rectified(seen, channels, 1) for seen, channels in zip(reversed(lateral_channels), CHANNELS, strict=False)
        )
        self.classifier = nn.Conv2d(CHANNELS[-1], num_classes, 3, padding=1)
        begin_convolutions(self)

    @property
    def stages(self) -> tuple[Stage, ...]:
        layer0, layer1, layer2, layer3, layer4 = self.trunk_stages
        return (
            layer0,
            layer1,
            Stage("lateral1", ("layer1",), self.lateral1),
            layer2,
            Stage("lateral2", ("layer2",), self.lateral2),
            layer3,
            Stage("lateral3", ("layer3",), self.lateral3),
            layer4,
            Stage("context", ("layer4",), self.bridge),
            Stage("dec1", ("context", "lateral3"), partial(_connect, self.dec1)),
            Stage("dec2", ("dec1", "lateral2"), partial(_connect, self.dec2)),
            Stage("decoder", ("dec2", "lateral1"), self._run_decoder),
            Stage("logits", ("decoder", IMAGE), at_image_size),
        )

    def _run_decoder(self, coarse: Tensor, lateral: Tensor) -> Tensor:
        return self.classifier(_connect(self.dec3, coarse, lateral))


def _connect(layer: nn.Module, coarse: Tensor, lateral: Tensor) -> Tensor:
    """What a layer makes of coarse features, grown to the size of lateral ones, and these."""
    return layer(upsample(coarse, lateral.shape[-2:]) + lateral)
