"""All that a training changes from step to step: the network, the average of its weights, and the optimiser."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from jobs.training.optimisers import Descent, MakeOptimiser
from jobs.training.runtime import Runtime

LEAST_SCALE = 2.0**-14  # of a float16 loss; where gradients still overflow, they exceed 2^29

Network = TypeVar("Network", bound=nn.Module)


class TrainState(Generic[Network]):
    """`step` says how many are done. `average` is what is validated and exported: the network itself, or the moving
    average of its weights, which early on covers a tenth of the steps done, so that it leaves the beginning behind.
    """

    def __init__(
        self,
        network: Network,
        runtime: Runtime,
        make_optimiser: MakeOptimiser,
        descent: Descent,
        *,
        decay: float = 0.0,
        largest_gradient: float = 0.0,
        optimiser_field: str = "optimiser",
        groups: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """decay: of the moving average; 0 for none.

        largest_gradient: the norm over all weights that a gradient is cut to; 0 for any.
        optimiser_field: what a checkpoint calls the optimiser's state. groups: of the network's parameters, as torch's
        optimisers take them; the "factor" of a group, if it has one, is that of its learning rate.
        """
        self.step = 0
        self.network = network.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Network = deepcopy(network).requires_grad_(False) if decay else network
        self._decay, self._largest_gradient, self._field = decay, largest_gradient, optimiser_field
        self._weights = list(network.parameters())
        self._optimiser = make_optimiser([dict(group) for group in groups] or self._weights, descent)
        self._scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.dtype == torch.float16)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a part of a step's loss to that of the others."""
        self._scaler.scale(loss).backward()

    def update(self, learning_rate: float, loss: Tensor) -> bool:
        """End a step of this loss, a scalar: go down the gradient. False where loss or gradient is not finite.

        Then the weights have not changed. In float16 a gradient may be too large for now: such a step is left out, and
        the scale of the next ones lowered, unless it is below what gradients of any use need.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate * group.get("factor", 1.0)
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.get_total_norm([weight.grad for weight in self._weights if weight.grad is not None])
        is_finite = (loss if self._scaler.is_enabled() else loss + norm).isfinite()
        if not is_finite or self._scaler.get_scale() < LEAST_SCALE:
            return False
        if self._largest_gradient:
            nn.utils.clip_grads_with_norm_(self._weights, self._largest_gradient, norm)
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
            self._field: self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `saved` returned then."""
        self.step = saved["step"]
        self.network.load_state_dict(saved["network"])
        if saved["average"] is not None:
            self.average.load_state_dict(saved["average"])
        self._optimiser.load_state_dict(saved[self._field])
        self._scaler.load_state_dict(saved["scaler"])
