"""Activations computed twice, instead of kept, to train larger networks than the memory holds otherwise."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


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
