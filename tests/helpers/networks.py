"""How two networks compare."""

import torch
from torch import nn


def assert_same_state(network: nn.Module, expected: nn.Module) -> None:
    state = network.state_dict()
    assert state.keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name
