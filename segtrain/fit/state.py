"""All that a training changes from step to step: the network, the average of its weights, and the optimiser."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from jobs.training.runtime import Runtime
from segtrain.fit.config import FitConfig
from segtrain.models.network import SegmentationNetwork


class TrainState:
    """`step` says how many are done. `average` is what is validated and exported: the network itself, or the moving
    average of its weights, which early on covers a tenth of the steps done.
    """

    def __init__(self, network: SegmentationNetwork, config: FitConfig, runtime: Runtime) -> None:
        self.step = 0
        self.network = network.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(network).requires_grad_(False) if config.average else network
        self._decay, self._clip = config.average, config.clip_gradient
        self._weights = list(network.parameters())
        self._optimiser = _optimiser(config, self._weights)
        self._scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.dtype == torch.float16)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a part of a step's loss to that of the others."""
        self._scaler.scale(loss).backward()

    def update(self, learning_rate: float, loss: Tensor) -> bool:
        """End a step of this loss, a scalar: go down the gradient. False where loss or gradient is not finite.

        Then the weights have not changed. In float16 a gradient may be too large for now: such a step is left out, and
        the scale of the next ones lowered.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.get_total_norm([weight.grad for weight in self._weights if weight.grad is not None])
        if not (loss if self._scaler.is_enabled() else loss + norm).isfinite():
            return False
        if self._clip:
            nn.utils.clip_grads_with_norm_(self._weights, self._clip, norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad()
        self.step += 1
        if self.average is not self.network:
            self._follow(min(self._decay, (1 + self.step) / (10 + self.step)))
        return True

    def _follow(self, kept: float) -> None:
        """Move the average towards the network, and take its statistics."""
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self._weights, strict=True):
                average.lerp_(weight, 1 - kept)
            for statistic, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
                statistic.copy_(buffer)

    def saved(self) -> dict[str, Any]:
        """Everything, as tensors and numbers."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not self.network else None,
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `saved` returned then."""
        self.step = saved["step"]
        self.network.load_state_dict(saved["network"])
        if saved["average"] is not None:
            self.average.load_state_dict(saved["average"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self._scaler.load_state_dict(saved["scaler"])


def _optimiser(config: FitConfig, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    if config.optimiser == "adamw":
        return torch.optim.AdamW(weights, weight_decay=config.weight_decay, fused=True)
    optimiser = torch.optim.SGD(weights, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    if config.momentum:
        # The first step would make the moments, and leave in them what the memory held where it is left out (float16).
        for weight in weights:
            optimiser.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimiser
