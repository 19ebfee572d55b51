"""The state in which a video predictor begins to learn."""

import math

import torch
from torch import nn

from sdcnet.networks.flownet2 import SLOPE
from sdcnet.networks.predictor import VideoPredictor


def initialise(network: VideoPredictor, seed: int) -> None:
    """Set a predictor's weights so that it returns its newest input flow, and learns what to add to that.

    Its last layer sees the inputs themselves beside what was decoded. It begins as the identity of the newest flow, and
    zero for all else: a small network is useful from its first step on, and learns within minutes. That is a choice of
    ours; the published networks' beginning is not known. The other layers keep the variance of what they are given.

    Reference: He et al., ICCV 2015.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer is not network.final_flow:
            height, width = layer.kernel_size
            num_inputs = layer.in_channels * height * width
            if isinstance(layer, nn.ConvTranspose2d):
                num_inputs //= math.prod(layer.stride)  # so many meet in one output
            std = math.sqrt(2 / ((1 + SLOPE**2) * num_inputs))
            with torch.no_grad():
                layer.weight.normal_(0, std, generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
    num_flows = network.num_frames - 1
    with torch.no_grad():
        network.final_flow.weight.zero_()
        for axis in range(2):
            network.final_flow.weight[axis, (axis + 1) * num_flows - 1, 1, 1] = 1  # channels: u1 u2 … v1 v2 …
        if network.final_flow.bias is not None:
            network.final_flow.bias.zero_()
