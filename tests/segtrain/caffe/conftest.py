"""The two published networks, narrow on both sides: in files as Caffe has them, and as ours are built."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.caffe_files import (
    FCN_BLOCKS,
    FCN_DEEPEST,
    LAYER,
    PSP_CHANNELS,
    PSP_DEPTHS,
    PSP_SCORED,
    Blobs,
    net,
)

from segtrain.models import fcn, pspnet, resnet
from segtrain.models.trunk import Trunk

Write = Callable[..., Path]


def narrow_trunk(output_stride: int) -> Trunk:
    return resnet.resnet(resnet.Bottleneck, PSP_DEPTHS, output_stride, deep_stem=True)


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcn, "BLOCKS", FCN_BLOCKS)
        patch.setattr(fcn, "FC_CHANNELS", FCN_DEEPEST)
        patch.setattr(resnet, "CHANNELS", PSP_CHANNELS)
        narrow_variant = pspnet.Variant(
            trunk=narrow_trunk, channels=PSP_SCORED, layer3_channels=PSP_CHANNELS[2] * resnet.Bottleneck.expansion
        )
        patch.setattr(pspnet, "VARIANTS", {"pspnet101": narrow_variant})
        yield


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(blobs: Blobs, form: int = LAYER) -> Path:
        path = tmp_path / "network.caffemodel"
        path.write_bytes(net(blobs, form))
        return path

    return write
