"""What the stages of a network cost, in multiply-accumulates."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segtrain.models.network import IMAGE, SegmentationNetwork, run_stages
from segtrain.models.registry import build_network

OPERATIONS = 2  # of a multiply-accumulate, as PyTorch counts


def stage_macs(network: SegmentationNetwork, size: tuple[int, int]) -> Mapping[str, int]:
    """Of each stage, for one image of size (H, W): the multiply-accumulates of convolutions and matrix products.

    They are counted on a copy without weights: nothing is computed. What else a network does (sums, interpolation,
    warping) is not counted, as is usual.
    """
    found = {IMAGE: torch.empty(1, 3, *size, device="meta")}
    macs = {}
    for stage in _without_values(network).stages:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            found[stage.name] = stage.run(*[found[name] for name in stage.reads])
        macs[stage.name] = counter.get_total_flops() // OPERATIONS
    return macs


def found_without_values(network: SegmentationNetwork, size: tuple[int, int]) -> dict[str, Tensor]:
    """What each stage gives for an image of size (H, W), on the meta device: shapes alone."""
    with torch.no_grad():
        return run_stages(_without_values(network).stages, torch.empty(1, 3, *size, device="meta"))


def _without_values(network: SegmentationNetwork) -> SegmentationNetwork:
    with torch.device("meta"):
        return build_network(
            network.architecture, num_classes=network.num_classes, output_stride=network.output_stride
        ).eval()


def convolutions_macs(module: nn.Module, like: Tensor) -> int:
    """The multiply-accumulates of a module's convolutions, each of which gives as many cells as there are in `like`."""
    weights = sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d))
    return weights * like.shape[-2] * like.shape[-1]
