"""What every trunk is: a chain of stages, each a chain of blocks, that can trade strides for dilations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import nn

HEAD_CHANNELS = 256


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """A classification network without its classifier, for segmentation networks to stand on.

    `stages` are applied one after the other, in their order and under their names; each is a chain of blocks. The
    last one gives `out_channels`; `skip_stage` is the one whose output, of `skip_channels`, a decoder sees that makes
    edges sharp. `head_channels` are as many as suit a head on it. `foreign_names` is how files of its ImageNet
    classifier call parts of it otherwise, each with what it is called here.
    """

    stages: Mapping[str, nn.Sequential]
    out_channels: int
    skip_stage: str
    skip_channels: int
    head_channels: int = HEAD_CHANNELS
    foreign_names: Mapping[str, str] = field(default_factory=dict)


def strides_and_dilations(stem_stride: int, strides: Iterable[int], output_stride: int) -> list[tuple[int, int]]:
    """The stride and dilation of each stage, such that features never get coarser than `output_stride`.

    From there on a stage dilates all its 3x3 convolutions by what it and those before it would have strided: they
    sample as far apart as in the classification network, at more places. (But for the first of a stage: there it
    samples at half the distance. The published networks were trained so.)

    stem_stride: of all that comes before these stages; strides: those of the classification network.
    Reference: Chen et al. 2017 (arXiv 1706.05587), section 3.1.
    """
    total, dilation, chosen = stem_stride, 1, []
    for stride in strides:
        if total * stride > output_stride:
            dilation *= stride
            chosen.append((1, dilation))
        else:
            total *= stride
            chosen.append((stride, dilation))
    return chosen


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps the size, but for its stride."""
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
    )


def chain(in_channels: int, out_channels: int, depth: int, block: type[nn.Module], **settings: int) -> nn.Sequential:
    """A stage of `depth` blocks, of which only the first strides and changes the number of channels."""
    stride = settings.pop("stride")
    first = block(in_channels, out_channels, stride=stride, **settings)
    return nn.Sequential(first, *(block(out_channels, out_channels, stride=1, **settings) for _ in range(depth - 1)))
