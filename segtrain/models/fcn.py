"""FCN-8s: VGG-16 as it scores classes at three depths, whose scores are added as they grow to the image's size.

The parameters have the names and shapes of the published network, but images are normalised as for all networks here:
published weights expect BGR levels less their mean, which `segtrain convert` folds into them.

Reference: Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, CVPR 2015; in the stages of
Shelhamer et al., Clockwork Convnets for Video Semantic Segmentation, 2016. It begins as in He et al., ICCV 2015.
"""

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segtrain.models.network import IMAGE, Places, SegmentationNetwork, Stage, begin_convolutions

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and number of 3x3 convolutions, then a pooling
BORDER = 100  # around the image, in the first convolution: then 7x7 features are left of the smallest one
FC_CHANNELS = 4096
DROPOUT = 0.5
# Where scores lie over those of the next deeper ones, and the image over the last ones, for that border.
OFFSETS: Mapping[str, int] = {"score_pool4": 5, "score_pool3": 9, IMAGE: 31}

PLACES: Mapping[str, Places] = {
    "pool3": Places(8, BORDER - 1),  # the first convolution is unpadded but for the border
    "score_pool3": Places(8, BORDER - 1),
    "pool4": Places(16, BORDER - 1),
    "score_pool4": Places(16, BORDER - 1),
    "context": Places(16, 19),
}


def names_of(block: int) -> tuple[str, ...]:
    """Of the convolutions of a block, counted from 1, as published."""
    return tuple(f"conv{block}_{number}" for number in range(1, BLOCKS[block - 1][1] + 1))


def foreign_names() -> dict[str, str]:
    """How usual files of the ImageNet classifier call the convolutions: all layers are counted in one chain."""
    found, number = {}, 0
    for block in range(1, len(BLOCKS) + 1):
        for name in names_of(block):
            found[f"features.{number}"] = name
            number += 2  # and its rectification
        number += 1  # the pooling
    return found


def enlarge(scores: Tensor, stride: int) -> Tensor:
    """scores [B,C,h,w] -> [B,C,(h + 1) stride,(w + 1) stride], each class by itself: bilinear, falling to 0 outside.

    A transposed convolution by a fixed kernel of 2 stride pixels, which nothing trains.
    """
    num_classes = scores.shape[1]
    positions = torch.arange(2 * stride, dtype=scores.dtype, device=scores.device)
    weights = 1 - (positions - (stride - 0.5)).abs() / stride
    kernel = torch.outer(weights, weights).expand(num_classes, 1, -1, -1)
    return F.conv_transpose2d(scores, kernel, stride=stride, groups=num_classes)


def crop(scores: Tensor, offset: int, like: Tensor) -> Tensor:
    """scores [B,C,H,W] from row and column `offset` on, as many as `like` [...,h,w] has."""
    height, width = like.shape[-2:]
    return scores[..., offset : offset + height, offset : offset + width]


def fuse(score_pool3: Tensor, score_pool4: Tensor, upscored: Tensor, image: Tensor) -> Tensor:
    """Scores of three depths, at strides 8, 16 and 16 -> their sum, [B,C,H,W], the size of the image."""
    added = upscored + crop(score_pool4, OFFSETS["score_pool4"], upscored)
    added = enlarge(added, 2)
    added = enlarge(added + crop(score_pool3, OFFSETS["score_pool3"], added), 8)
    return crop(added, OFFSETS[IMAGE], image)


def as_it_is(scores: Tensor, image: Tensor) -> Tensor:  # noqa: ARG001
    return scores


class FCN8s(SegmentationNetwork):
    """Its trunk's features get coarser up to stride 32; its finest scores have stride 8, the one output stride it has.

    Its `context` is the deepest scores at stride 16; its `decoder` gives the sum of all at the image's size already.
    """

    head = frozenset(
        f"{layer}.{parameter}"
        for layer in ("score_pool3", "score_pool4", "score_fr")
        for parameter in ("weight", "bias")
    )
    output_strides = (8,)
    cuts = ("score_pool3", "score_pool4")

    def __init__(
        self, architecture: str, *, num_classes: int, output_stride: int, checkpoint_activations: bool = False
    ) -> None:
        super().__init__(
            architecture,
            num_classes=num_classes,
            output_stride=output_stride,
            checkpoint_activations=checkpoint_activations,
        )
        self.foreign_names = foreign_names()
        self.stage_names = tuple(self.foreign_names.values())
        in_channels = 3
        for block, (channels, _) in enumerate(BLOCKS, start=1):
            for name in names_of(block):
                padding = BORDER if name == "conv1_1" else 1
                self.add_module(name, nn.Conv2d(in_channels, channels, 3, padding=padding))
                in_channels = channels
        self.fc6 = nn.Conv2d(in_channels, FC_CHANNELS, 7)
        self.fc7 = nn.Conv2d(FC_CHANNELS, FC_CHANNELS, 1)
        self.dropout = nn.Dropout(DROPOUT)
        self.score_fr = nn.Conv2d(FC_CHANNELS, num_classes, 1)
        self.score_pool3 = nn.Conv2d(BLOCKS[2][0], num_classes, 1)
        self.score_pool4 = nn.Conv2d(BLOCKS[3][0], num_classes, 1)
        begin_convolutions(self)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("pool3", (IMAGE,), partial(self._run_blocks, (1, 2, 3))),
            Stage("score_pool3", ("pool3",), self.score_pool3),
            Stage("pool4", ("pool3",), partial(self._run_blocks, (4,))),
            Stage("score_pool4", ("pool4",), self.score_pool4),
            Stage("context", ("pool4",), self._run_context),
            Stage("decoder", ("score_pool3", "score_pool4", "context", IMAGE), fuse),
            Stage("logits", ("decoder", IMAGE), as_it_is),
        )

    def places(self, stage: str) -> Places | None:
        return PLACES.get(stage)

    def _run_blocks(self, blocks: tuple[int, ...], features: Tensor) -> Tensor:
        for block in blocks:
            if self.checkpoint_activations and self.training:
                features = checkpoint(self._run_block, block, features, use_reentrant=False)
            else:
                features = self._run_block(block, features)
        return features

    def _run_block(self, block: int, features: Tensor) -> Tensor:
        for name in names_of(block):
            features = F.relu(self.get_submodule(name)(features), inplace=True)
        return F.max_pool2d(features, 2, ceil_mode=True)

    def _run_context(self, pool4: Tensor) -> Tensor:
        """pool4 -> the deepest scores, of stride 32, at stride 16."""
        features = self._run_blocks((5,), pool4)
        for layer in (self.fc6, self.fc7):
            features = self.dropout(F.relu(layer(features), inplace=True))
        return enlarge(self.score_fr(features), 2)
