"""What one process of a training crew is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Member:
    """One process of a training crew, as `train` is told.

    In a crew on Ray, torch.distributed is initialised: NCCL where members have GPUs, else gloo.

    rank: 0 .. num_members - 1.
    device: this member's own GPU, or the CPU.
    attempt: 0 at first, one more after each restart of the crew.
    tell: hands a small, picklable value to the `on_message` of who launched the crew, and waits for nothing else.
    """

    rank: int
    num_members: int
    device: torch.device
    attempt: int
    tell: Callable[[Any], None] = field(default=lambda _: None, repr=False, compare=False)
