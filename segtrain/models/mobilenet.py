"""MobileNets: of depthwise convolutions, for small machines and for real time.

Stages are called as in `resnet`; within a block of V2, parameters are called as in the usual ImageNet weights, whose
files have all blocks in one chain, `features`.

Reference: Howard et al., MobileNets, 2017, table 1; Sandler et al., MobileNetV2, CVPR 2018, table 2.
"""

from torch import Tensor, nn

from segtrain.models.trunk import HEAD_CHANNELS, Trunk, convolution, strides_and_dilations

STEM_CHANNELS = 32
# The table's rows by stage: the stride that begins the stage; each row's expansion, channels and number of blocks.
STAGES: dict[str, tuple[int, tuple[tuple[int, int, int], ...]]] = {
    "layer0": (1, ((1, 16, 1),)),
    "layer1": (2, ((6, 24, 2),)),
    "layer2": (2, ((6, 32, 3),)),
    "layer3": (2, ((6, 64, 4), (6, 96, 3))),
    "layer4": (2, ((6, 160, 3), (6, 320, 1))),
}
SKIP_CHANNELS = 24
# Of V1, the channels of the blocks of each stage, the first of which strides, but for that of layer0.
V1_STAGES: dict[str, tuple[int, ...]] = {
    "layer0": (64,),
    "layer1": (128, 128),
    "layer2": (256, 256),
    "layer3": (512,) * 6,
    "layer4": (1024, 1024),
}


def normalised_convolution(in_channels: int, out_channels: int, kernel_size: int, **settings: int) -> nn.Sequential:
    layer = convolution(in_channels, out_channels, kernel_size, **settings)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """A depthwise 3x3 convolution of expanded channels, and a linear projection to few."""

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        channels = expansion * in_channels
        expand = [normalised_convolution(in_channels, channels, 1)] if expansion > 1 else []
        depthwise = normalised_convolution(channels, channels, 3, stride=stride, dilation=dilation, groups=channels)
        self.conv = nn.Sequential(
            *expand, depthwise, convolution(channels, out_channels, 1), nn.BatchNorm2d(out_channels)
        )
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv(features) if self.is_residual else self.conv(features)


def mobilenet_v2(output_stride: int) -> Trunk:
    """layer0, the stem and the first block, to layer4. The skip has stride 4."""
    stages = {}
    in_channels = STEM_CHANNELS
    scales = strides_and_dilations(2, (stride for stride, _ in STAGES.values()), output_stride)
    for (name, (_, rows)), (stride, dilation) in zip(STAGES.items(), scales, strict=True):
        stage = nn.Sequential()
        if name == "layer0":
            stage.append(normalised_convolution(3, STEM_CHANNELS, 3, stride=2))
        for expansion, out_channels, depth in rows:
            for _ in range(depth):
                block = InvertedResidual(
                    in_channels, out_channels, expansion=expansion, stride=stride, dilation=dilation
                )
                stage.append(block)
                in_channels, stride = out_channels, 1
        stages[name] = stage
    blocks = [f"{name}.{number}" for name, stage in stages.items() for number in range(len(stage))]
    return Trunk(
        stages=stages,
        out_channels=in_channels,
        skip_stage="layer1",
        skip_channels=SKIP_CHANNELS,
        head_channels=HEAD_CHANNELS // 2,
        foreign_names={f"features.{number}": block for number, block in enumerate(blocks)},
    )


def mobilenet_v1(output_stride: int) -> Trunk:
    """layer0, the stem and the first block, to layer4. The skip has stride 4."""
    stages = {}
    in_channels = STEM_CHANNELS
    strides = (1 if name == "layer0" else 2 for name in V1_STAGES)
    scales = strides_and_dilations(2, strides, output_stride)
    for (name, widths), (stride, dilation) in zip(V1_STAGES.items(), scales, strict=True):
        stage = nn.Sequential()
        if name == "layer0":
            stage.append(normalised_convolution(3, STEM_CHANNELS, 3, stride=2))
        for channels in widths:
            depthwise = normalised_convolution(
                in_channels, in_channels, 3, stride=stride, dilation=dilation, groups=in_channels
            )
            stage.append(nn.Sequential(depthwise, normalised_convolution(in_channels, channels, 1)))
            in_channels, stride = channels, 1
        stages[name] = stage
    return Trunk(stages=stages, out_channels=in_channels, skip_stage="layer1", skip_channels=V1_STAGES["layer1"][-1])
