"""What the stages of a network cost, in multiply-accumulates."""

from collections.abc import Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from segtrain.models.network import IMAGE, SegmentationNetwork
from segtrain.models.registry import build_network

OPERATIONS = 2  # of a multiply-accumulate, as PyTorch counts


def stage_macs(network: SegmentationNetwork, size: tuple[int, int]) -> Mapping[str, int]:
    """Of each stage, for one image of size (H, W): the multiply-accumulates of convolutions and matrix products.

    They are counted on a copy without weights: nothing is computed. What else a network does (sums, interpolation,
    warping) is not counted, as is usual.
    """
    with torch.device("meta"):
        copy = build_network(
            network.architecture, num_classes=network.num_classes, output_stride=network.output_stride
        ).eval()
        found = {IMAGE: torch.empty(1, 3, *size)}
        macs = {}
        for stage in copy.stages:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                found[stage.name] = stage.run(*[found[name] for name in stage.reads])
            macs[stage.name] = counter.get_total_flops() // OPERATIONS
    return macs
