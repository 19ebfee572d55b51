"""DeepLabV3+: what a trunk sees, in the context of several sizes, made sharp by its early features.

The parameters have the names and shapes of the published networks: the trunk's stages lie beside the head's layers.

Reference: Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018; with ordinary convolutions, as in
Zhu et al., CVPR 2019.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from segtrain.models.trunk import Trunk, convolution

SKIP_CHANNELS = 48  # the paper's, so that early features do not outweigh the others
RATES_AT_STRIDE_1 = (96, 192, 288)  # 12, 24, 36 at output stride 8; 6, 12, 18 at 16


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What tells one DeepLabV3+ from another. `trunk` makes the trunk for an output stride."""

    name: str
    trunk: Callable[[int], Trunk]
    head_channels: int = 256


def rectified(layer: nn.Conv2d) -> list[nn.Module]:
    return [layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True)]


def upsample(features: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, with the outermost pixels' centres on each other, as in the published networks."""
    return F.interpolate(features, tuple(size), mode="bilinear", align_corners=True)


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


class DeepLabV3Plus(nn.Module):
    """Class scores for every pixel of images of any size.

    ``network.to(memory_format=torch.channels_last)`` and ``nn.SyncBatchNorm.convert_sync_batchnorm(network)`` work as
    for any network. While it trains, the batch norm of the image's mean needs more than one image per step (over all
    workers, where they are synchronised).

    `checkpoint_activations`, which may be changed at any time, makes training keep only what lies between the trunk's
    residual blocks, and compute the rest again on the way back: less memory for a third more time, the same numbers.
    """

    def __init__(
        self, architecture: Architecture, *, num_classes: int, output_stride: int, checkpoint_activations: bool = False
    ) -> None:
        """Raises ValueError where num_classes is not positive, or output_stride is neither 8 nor 16."""
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be positive, found {num_classes}")
        if output_stride not in (8, 16):
            raise ValueError(f"output_stride must be 8 or 16, found {output_stride}")
        self.architecture = architecture.name
        self.num_classes, self.output_stride = num_classes, output_stride
        self.checkpoint_activations = checkpoint_activations
        trunk, channels = architecture.trunk(output_stride), architecture.head_channels
        self.stage_names, self.skip_stage = tuple(trunk.stages), trunk.skip_stage
        for name, stage in trunk.stages.items():
            self.add_module(name, stage)
        self.aspp = ASPP(trunk.out_channels, channels, tuple(rate // output_stride for rate in RATES_AT_STRIDE_1))
        self.bot_fine = convolution(trunk.skip_channels, SKIP_CHANNELS, 1)
        self.bot_aspp = convolution(self.aspp.out_channels, channels, 1)
        self.final = nn.Sequential(
            *rectified(convolution(SKIP_CHANNELS + channels, channels, 3)),
            *rectified(convolution(channels, channels, 3)),
            convolution(channels, num_classes, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] as of `preprocessing.normalised` -> logits [B,num_classes,H,W]."""
        fine, features = self.encode(images)
        context = self.bot_aspp(self.aspp(features))
        fine = self.bot_fine(fine)
        logits = self.final(torch.cat((fine, upsample(context, fine.shape[-2:])), dim=1))
        return upsample(logits, images.shape[-2:])

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images [B,3,H,W] -> the features of the skip and the last ones, 1/2 or 1/4 and 1/output_stride the size."""
        features = skip = images
        for name in self.stage_names:
            for block in self.get_submodule(name).children():
                recompute = self.checkpoint_activations and self.training and any(block.children())
                features = recomputed(block, features) if recompute else block(features)
            if name == self.skip_stage:
                skip = features
        return skip, features


def recomputed(block: nn.Module, features: Tensor) -> Tensor:
    """The block's output, without keeping what its gradient needs: that is computed again on the way back."""
    if torch.compiler.is_compiling():  # a compiled graph holds the update of running statistics once anyway
        return checkpoint(block, features, use_reentrant=False)
    return checkpoint(block, features, use_reentrant=False, context_fn=partial(_first_and_second_pass, block))


def _first_and_second_pass(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _WithoutCounting(block)


class _WithoutCounting(AbstractContextManager[None]):
    """Batch norms normalise as ever, but their running statistics, which have seen this batch, stay.

    May be entered again, as it is where gradients are taken twice.
    """

    def __init__(self, block: nn.Module) -> None:
        self.layers = [layer for layer in block.modules() if isinstance(layer, _BatchNorm)]

    def __enter__(self) -> None:
        self.before = [(layer.momentum, layer.num_batches_tracked) for layer in self.layers]
        for layer in self.layers:
            layer.momentum = 0.0
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked = layer.num_batches_tracked.clone()

    def __exit__(self, *_: object) -> None:
        for layer, (momentum, num_batches_tracked) in zip(self.layers, self.before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, num_batches_tracked
