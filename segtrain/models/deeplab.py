"""DeepLabV3+: what a trunk sees, in the context of several sizes, made sharp by its early features.

The parameters have the names and shapes of the published networks: the trunk's stages lie beside the head's layers.

Reference: Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018; with ordinary convolutions, as in
Zhu et al., CVPR 2019.
"""

import torch
from torch import Tensor, nn

from segtrain.models.network import IMAGE, SegmentationNetwork, Stage, at_image_size, begin_convolutions, upsample
from segtrain.models.registry import TRUNKS
from segtrain.models.trunk import convolution

SKIP_CHANNELS = 48  # the paper's, so that early features do not outweigh the others
RATES_AT_STRIDE_1 = (96, 192, 288)  # 12, 24, 36 at output stride 8; 6, 12, 18 at 16


def rectified(layer: nn.Conv2d) -> list[nn.Module]:
    return [layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True)]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: the mean of all pixels, and convolutions of four reaches, side by side.

    Reference: Chen et al. 2017 (arXiv 1706.05587), figure 5.
    """

    def __init__(self, in_channels: int, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        layers = [convolution(in_channels, channels, 1)]
        layers += [convolution(in_channels, channels, 3, dilation=rate) for rate in rates]
        self.features = nn.ModuleList(nn.Sequential(*rectified(layer)) for layer in layers)
        self.img_conv = nn.Sequential(*rectified(convolution(in_channels, channels, 1)))
        self.out_channels = channels * (1 + len(layers))

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        image = self.img_conv(features.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, height, width)
        return torch.cat((image, *(branch(features) for branch in self.features)), dim=1)


class DeepLabV3Plus(SegmentationNetwork):
    """On the trunk of its own name, of whose early features `fine` is what the decoder reads beside the context.

    Reference: He et al., ICCV 2015, for the beginning of all convolutions.
    """

    head = frozenset({"final.6.weight"})

    def __init__(
        self, architecture: str, *, num_classes: int, output_stride: int, checkpoint_activations: bool = False
    ) -> None:
        super().__init__(
            architecture,
            num_classes=num_classes,
            output_stride=output_stride,
            checkpoint_activations=checkpoint_activations,
        )
        trunk = TRUNKS[architecture](output_stride)
        channels = trunk.head_channels
        self.add_trunk(trunk)
        self._skip = trunk.skip_stage
        late = self.stage_names[1 + self.stage_names.index(self._skip) :]
        self.cuts = ("fine", late[len(late) // 2])
        self.aspp = ASPP(trunk.out_channels, channels, tuple(rate // output_stride for rate in RATES_AT_STRIDE_1))
        self.bot_fine = convolution(trunk.skip_channels, SKIP_CHANNELS, 1)
        self.bot_aspp = convolution(self.aspp.out_channels, channels, 1)
        self.final = nn.Sequential(
            *rectified(convolution(SKIP_CHANNELS + channels, channels, 3)),
            *rectified(convolution(channels, channels, 3)),
            convolution(channels, num_classes, 1),
        )
        begin_convolutions(self)

    @property
    def stages(self) -> tuple[Stage, ...]:
        place = 1 + self.stage_names.index(self._skip)
        return (
            *self.trunk_stages[:place],
            Stage("fine", (self._skip,), self.bot_fine),
            *self.trunk_stages[place:],
            Stage("context", (self.stage_names[-1],), self._run_context),
            Stage("decoder", ("fine", "context"), self._run_decoder),
            Stage("logits", ("decoder", IMAGE), at_image_size),
        )

    def _run_context(self, features: Tensor) -> Tensor:
        return self.bot_aspp(self.aspp(features))

    def _run_decoder(self, fine: Tensor, context: Tensor) -> Tensor:
        """Logits of the size of the fine features."""
        return self.final(torch.cat((fine, upsample(context, fine.shape[-2:])), dim=1))
