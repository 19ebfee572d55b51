"""WideResNet38, model A2: wide residual blocks that normalise before they convolve.

The parameters have the names and shapes of the published ImageNet weights.

Reference: Wu, Shen and van den Hengel, Wider or Deeper, 2016 (arXiv 1611.10080).
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from segtrain.models.trunk import Trunk, convolution, strides_and_dilations

STEM_CHANNELS = 64
# Of each stage from mod2 on: its blocks, the outputs of their convolutions, its stride, what its dropout drops.
STAGES: Sequence[tuple[int, tuple[int, ...], int, float]] = (
    (3, (128, 128), 1, 0.0),
    (3, (256, 256), 1, 0.0),
    (6, (512, 512), 2, 0.0),
    (3, (512, 1024), 2, 0.0),
    (1, (512, 1024, 2048), 2, 0.3),
    (1, (1024, 2048, 4096), 1, 0.5),
)
OUT_CHANNELS = 4096


def normalised(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class IdentityResidualBlock(nn.Module):
    """Convolutions of normalised features, added to the features themselves.

    Two convolutions are 3x3 both; of three the middle one is, and the others are 1x1. The first one strides, the 3x3
    ones dilate. Where the block changes the size, what it adds to is projected from the normalised features.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], *, stride: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        kernel_sizes = (3, 3) if len(channels) == 2 else (1, 3, 1)
        self.bn1 = normalised(in_channels)
        self.convs = nn.Sequential()
        for number, (fan, kernel_size) in enumerate(zip(pairwise((in_channels, *channels)), kernel_sizes, strict=True)):
            if number > 0:
                self.convs.add_module(f"bn{number + 1}", normalised(fan[0]))
            if dropout and number == len(channels) - 1:
                self.convs.add_module("dropout", nn.Dropout2d(dropout))
            strided = stride if number == 0 else 1
            layer = convolution(*fan, kernel_size, stride=strided, dilation=dilation)
            self.convs.add_module(f"conv{number + 1}", layer)
        changes_size = stride != 1 or in_channels != channels[-1]
        self.proj_conv = convolution(in_channels, channels[-1], 1, stride=stride) if changes_size else None

    def forward(self, features: Tensor) -> Tensor:
        normal = self.bn1(features)
        shortcut = features if self.proj_conv is None else self.proj_conv(normal)
        return shortcut + self.convs(normal)


def stages(output_stride: int) -> dict[str, nn.Sequential]:
    """mod1 to mod7; with an output stride of 32 those of the classification network, which dilates nothing."""
    made = {"mod1": nn.Sequential(OrderedDict(conv1=convolution(3, STEM_CHANNELS, 3)))}
    scales = strides_and_dilations(4, (stride for _, _, stride, _ in STAGES), output_stride)
    in_channels = STEM_CHANNELS
    for number, ((depth, channels, _, dropout), (stride, dilation)) in enumerate(zip(STAGES, scales, strict=True), 2):
        stage = nn.Sequential()
        if number in (2, 3):
            stage.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        for block in range(depth):
            stage.add_module(
                f"block{block + 1}",
                IdentityResidualBlock(
                    in_channels, channels, stride=1 if block else stride, dilation=dilation, dropout=dropout
                ),
            )
            in_channels = channels[-1]
        made[f"mod{number}"] = stage
    return made


def wide_resnet38(output_stride: int) -> Trunk:
    """The trunk: mod1 to mod7, whose last features are neither normalised nor rectified. The skip has stride 2."""
    return Trunk(stages=stages(output_stride), out_channels=OUT_CHANNELS, skip_stage="mod2", skip_channels=128)


class WideResNet38(nn.Sequential):
    """The ImageNet classifier: images [B,3,H,W], normalised -> logits [B,num_classes]."""

    def __init__(self, *, num_classes: int = 1000, output_stride: int = 32) -> None:
        super().__init__(OrderedDict(stages(output_stride)))
        self.bn_out = normalised(OUT_CHANNELS)
        self.classifier = nn.Sequential(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(OUT_CHANNELS, num_classes))
        )
