"""ResNet-18, 50 and 101.

The parameters have the names and shapes of the published segmentation networks: the stem is `layer0`.

Reference: He et al., Deep Residual Learning, CVPR 2016; a bottleneck strides in its 3x3 convolution, as is usual.
"""

from torch import Tensor, nn

from segtrain.models.trunk import Trunk, chain, convolution, strides_and_dilations

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

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, out_channels, 3, stride=stride, dilation=dilation)
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


def resnet(block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, ...], output_stride: int) -> Trunk:
    """layer0, the stem, to layer4; `depths` are the numbers of blocks. The skip has stride 4."""
    stem = convolution(3, CHANNELS[0], 7, stride=2)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    stages = {"layer0": nn.Sequential(stem, nn.BatchNorm2d(CHANNELS[0]), nn.ReLU(inplace=True), pool)}
    in_channels = CHANNELS[0]
    scales = strides_and_dilations(4, STRIDES, output_stride)
    for number, (channels, depth, (stride, dilation)) in enumerate(zip(CHANNELS, depths, scales, strict=True), 1):
        out_channels = channels * block.expansion
        stages[f"layer{number}"] = chain(in_channels, out_channels, depth, block, stride=stride, dilation=dilation)
        in_channels = out_channels
    skip_channels = CHANNELS[0] * block.expansion
    return Trunk(stages=stages, out_channels=in_channels, skip_stage="layer1", skip_channels=skip_channels)


def resnet18(output_stride: int) -> Trunk:
    return resnet(BasicBlock, (2, 2, 2, 2), output_stride)


def resnet50(output_stride: int) -> Trunk:
    return resnet(Bottleneck, (3, 4, 6, 3), output_stride)


def resnet101(output_stride: int) -> Trunk:
    return resnet(Bottleneck, (3, 4, 23, 3), output_stride)
