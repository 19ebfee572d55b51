"""All that a training changes from step to step: the network, the average of its weights, and the optimizer."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from jobs.training.runtime import Runtime
from sdcnet.networks.predictor import VideoPredictor

AVERAGED_STEPS = 1000  # the average forgets a step's weights after about so many
WEIGHT_DECAY = 1e-4
LARGEST_GRADIENT = 10.0  # its norm over all weights; a usual one is 1…7


class TrainState:
    """`step` says how many are done. `average` has the exponential moving average of the weights: it is what is
    evaluated and exported. Early on it covers a tenth of the steps done, so that it leaves the beginning behind.
    """

    def __init__(self, network: VideoPredictor, runtime: Runtime) -> None:
        self.step = 0
        self.network = network.train().to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = runtime.prepare(deepcopy(network))
        self._weights = list(network.parameters())
        self._optimizer = torch.optim.AdamW(self._weights, weight_decay=WEIGHT_DECAY, fused=True)
        self._scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.dtype == torch.float16)

    def learn(self, loss: Tensor, learning_rate: float) -> bool:
        """Do one step down the gradient of the loss, a scalar; False where loss or gradient is not finite.

        Then nothing has changed. In float16 a gradient may be too large for now: such a step is left out, and
        the scale of the next ones lowered.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._weights, LARGEST_GRADIENT)
        if not (loss if self._scaler.is_enabled() else loss + norm).isfinite():
            return False
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.step += 1
        kept = min(1 - 1 / AVERAGED_STEPS, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self._weights, strict=True):
                average.lerp_(weight, 1 - kept)
        return True

    def saved(self) -> dict[str, Any]:
        """Everything, as tensors and numbers."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `saved` returned then."""
        self.step = saved["step"]
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._scaler.load_state_dict(saved["scaler"])
