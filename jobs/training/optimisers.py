"""How weights go down their gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from jobs.registry import Registry

if TYPE_CHECKING:  # a command line that knows their names needs no torch
    from torch import nn
    from torch.optim import Optimizer

    Weights = Sequence[nn.Parameter] | Sequence[dict[str, Any]]  # or groups of them, as torch's optimisers take these


@dataclass(frozen=True, kw_only=True)
class Descent:
    """What shapes a descent, beside its rate; each optimiser takes what it needs."""

    momentum: float = 0.9
    weight_decay: float = 0.0


class MakeOptimiser(Protocol):
    def __call__(self, weights: "Weights", descent: Descent) -> "Optimizer":
        """The optimiser of these weights. Its rate is set before each step."""
        ...


def adamw(weights: "Weights", descent: Descent) -> "Optimizer":
    """Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019."""
    from torch.optim import AdamW

    return AdamW(weights, weight_decay=descent.weight_decay, fused=True)


def sgd(weights: "Weights", descent: Descent) -> "Optimizer":
    """With momentum."""
    from torch import zeros_like
    from torch.optim import SGD

    optimiser = SGD(weights, momentum=descent.momentum, weight_decay=descent.weight_decay, fused=True)
    if descent.momentum:
        # The first step would make the moments, and leave in them what the memory held where it is left out (float16).
        for weight in (weight for group in optimiser.param_groups for weight in group["params"]):
            optimiser.state[weight]["momentum_buffer"] = zeros_like(weight)
    return optimiser


OPTIMISERS: Registry[MakeOptimiser] = Registry("optimiser", {"sgd": sgd, "adamw": adamw})
