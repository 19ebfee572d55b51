"""Copies between the host and the device of a network, and how many there were."""

import torch
from torch import Tensor


class Transfers:
    """All that goes up to a device, and comes down from it, counted: `up` and `down` copies, and their bytes.

    Where the device is the CPU nothing is copied, and the same is counted. Going up to a GPU leaves from pinned memory,
    beside what computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.up = self.down = 0
        self.bytes_up = self.bytes_down = 0

    def to_device(self, tensor: Tensor) -> Tensor:
        self.up += 1
        self.bytes_up += tensor.nbytes
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def to_host(self, tensor: Tensor) -> Tensor:
        """Waits for what computes it."""
        self.down += 1
        self.bytes_down += tensor.nbytes
        return tensor.cpu()
