"""How two networks compare, and networks with values that anybody can compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from golden.fill import fill
from torch import nn

from sdcnet.networks.raft import RAFT
from segtrain.models import fcn


@contextmanager
def narrow_fcn() -> Iterator[None]:
    """FCN-8s made within has a hundredth of its parameters, which are all of its two wide layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcn, "FC_CHANNELS", 64)
        yield


def assert_same_state(network: nn.Module, expected: nn.Module) -> None:
    state = network.state_dict()
    assert state.keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name


def filled_raft(variant: str) -> RAFT:
    """RAFT with the weights of the stored numbers: the fill, and a smaller step, or the flow would drift away."""
    with torch.device("meta"):
        network = RAFT(variant)
    network = network.to_empty(device="cpu").requires_grad_(False).eval()
    fill(network)
    network.update_block.flow_head.conv2.weight.mul_(0.125)
    return network
