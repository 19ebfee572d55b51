"""ResNet-18, 50 and 101.

The parameters have the names and shapes of the published segmentation networks: the stem is `layer0`. ImageNet
classifiers' files have its layers beside the stages, as `conv1` and `bn1`; of a deep stem, to `conv3` and `bn3`.

Reference: He et al., Deep Residual Learning, CVPR 2016; a bottleneck strides in its 3x3 convolution, as is usual.
"""

from torch import Tensor, nn

from segtrain.models.trunk import HEAD_CHANNELS, Trunk, chain, convolution, strides_and_dilations

CHANNELS = (64, 128, 256, 512)  # of the 3x3 convolutions of layers 1 to 4
STRIDES = (1, 2, 2, 2)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """What a block adds to where it changes the size; None where that is its input."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(convolution(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1
    dilates_first = True

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        first_dilation = dilation if self.dilates_first else 1
        self.conv1 = convolution(in_channels, out_channels, 3, stride=stride, dilation=first_dilation)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = convolution(out_channels, out_channels, 3, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        residual = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(residual)) + shortcut)


class Bottleneck(nn.Module):
    """A 3x3 convolution of a quarter of the channels, between two 1x1 convolutions."""

    expansion = 4

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        channels = out_channels // self.expansion
        self.conv1 = convolution(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, 3, stride=stride, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = convolution(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        return self.relu(self.bn3(self.conv3(residual)) + shortcut)


def stem(*layers: nn.Conv2d) -> nn.Sequential:
    """The convolutions, each normalised and rectified, and a pooling."""
    stage = nn.Sequential()
    for layer in layers:
        stage.extend((layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True)))
    return stage.append(nn.MaxPool2d(3, stride=2, padding=1))


def resnet(
    block: type[BasicBlock] | type[Bottleneck],
    depths: tuple[int, ...],
    output_stride: int,
    *,
    deep_stem: bool = False,
    head_channels: int = HEAD_CHANNELS,
) -> Trunk:
    """layer0, the stem, to layer4; `depths` are the numbers of blocks. The skip has stride 4.

    deep_stem: of three 3x3 convolutions, the last one with twice the channels, instead of one 7x7 convolution.
    """
    fewest = CHANNELS[0]
    layers = [convolution(3, fewest, 7, stride=2)]
    if deep_stem:
        layers = [
            convolution(3, fewest, 3, stride=2),
            convolution(fewest, fewest, 3),
            convolution(fewest, 2 * fewest, 3),
        ]
    stages = {"layer0": stem(*layers)}
    in_channels = layers[-1].out_channels
    scales = strides_and_dilations(4, STRIDES, output_stride)
    for number, (channels, depth, (stride, dilation)) in enumerate(zip(CHANNELS, depths, scales, strict=True), 1):
        out_channels = channels * block.expansion
        stages[f"layer{number}"] = chain(in_channels, out_channels, depth, block, stride=stride, dilation=dilation)
        in_channels = out_channels
    foreign_names = {}
    for number in range(len(layers)):
        foreign_names[f"conv{number + 1}"] = f"layer0.{3 * number}"
        foreign_names[f"bn{number + 1}"] = f"layer0.{3 * number + 1}"
    return Trunk(
        stages=stages,
        out_channels=in_channels,
        skip_stage="layer1",
        skip_channels=fewest * block.expansion,
        head_channels=head_channels,
        foreign_names=foreign_names,
    )


def resnet18(output_stride: int) -> Trunk:
    return resnet(BasicBlock, (2, 2, 2, 2), output_stride, head_channels=HEAD_CHANNELS // 2)


def resnet50(output_stride: int) -> Trunk:
    return resnet(Bottleneck, (3, 4, 6, 3), output_stride)


def resnet101(output_stride: int) -> Trunk:
    return resnet(Bottleneck, (3, 4, 23, 3), output_stride)


def resnet101_deep_stem(output_stride: int) -> Trunk:
    return resnet(Bottleneck, (3, 4, 23, 3), output_stride, deep_stem=True)
