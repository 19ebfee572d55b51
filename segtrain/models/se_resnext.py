"""SE-ResNeXt-50 and 101 (32x4d): bottlenecks of grouped convolutions that weigh their channels.

The parameters have the names and shapes of the published weights.

Reference: Xie et al., Aggregated Residual Transformations, CVPR 2017; Hu et al., Squeeze-and-Excitation Networks,
CVPR 2018.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from segtrain.models.resnet import STRIDES, projection
from segtrain.models.trunk import Trunk, chain, convolution, strides_and_dilations

STEM_CHANNELS = 64
CHANNELS = (256, 512, 1024, 2048)  # of what layers 1 to 4 give; their grouped convolutions have half as many
NUM_GROUPS = 32
REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Weighs each channel, between 0 and 1, by what the means of all channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // REDUCTION, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        means = features.mean(dim=(2, 3), keepdim=True)
        return features * torch.sigmoid(self.fc2(torch.relu(self.fc1(means))))


class SEResNeXtBottleneck(nn.Module):
    """A grouped 3x3 convolution between two 1x1 convolutions, whose sum with the shortcut is of weighed channels."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        channels = out_channels // 2
        self.conv1 = convolution(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, 3, stride=stride, dilation=dilation, groups=NUM_GROUPS)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = convolution(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SqueezeExcitation(out_channels)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        return self.relu(self.se_module(self.bn3(self.conv3(residual))) + shortcut)


def se_resnext(depths: tuple[int, ...], output_stride: int) -> Trunk:
    """layer0, the stem, to layer4; `depths` are the numbers of blocks. The skip has stride 4."""
    stem = OrderedDict(
        conv1=convolution(3, STEM_CHANNELS, 7, stride=2),
        bn1=nn.BatchNorm2d(STEM_CHANNELS),
        relu1=nn.ReLU(inplace=True),
        pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # without padding, as in the published weights' training
    )
    stages = {"layer0": nn.Sequential(stem)}
    in_channels = STEM_CHANNELS
    scales = strides_and_dilations(4, STRIDES, output_stride)
    for number, (out_channels, depth, (stride, dilation)) in enumerate(zip(CHANNELS, depths, scales, strict=True), 1):
        stages[f"layer{number}"] = chain(
            in_channels, out_channels, depth, SEResNeXtBottleneck, stride=stride, dilation=dilation
        )
        in_channels = out_channels
    return Trunk(stages=stages, out_channels=CHANNELS[-1], skip_stage="layer1", skip_channels=CHANNELS[0])


def se_resnext50(output_stride: int) -> Trunk:
    return se_resnext((3, 4, 6, 3), output_stride)


def se_resnext101(output_stride: int) -> Trunk:
    return se_resnext((3, 4, 23, 3), output_stride)
