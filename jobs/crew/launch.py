"""Run a training function as one process, or as a crew of them that exchange gradients (Ray Train)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.crew.member import Member
from jobs.errors import JobError
from jobs.signals import checked

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")


def launch(
    train: Callable[[Member], Result],
    *,
    num_workers: int = 1,
    address: str | None = None,
    gpus_per_worker: int | None = None,
    max_failures: int = 3,
    on_message: Callable[[Any], None] = lambda _: None,
) -> Result:
    """What `train` returns as rank 0 of `num_workers` members.

    A single worker without an address is this process: neither Ray nor torch.distributed takes part. Else each member
    is a process of Ray's, on one thread per core of its share of the machine.

    When a member's process dies, or its node is lost, the crew is stopped and all of it starts again: `train` is
    called anew with the next attempt, and goes on from files that it has written itself, at absolute paths that all
    nodes of a cluster share. What `train` raises is no death: it stops the crew and is raised here, as the same type.

    train: picklable, as is what it returns, which is best small; on Ray, what it prints is not shown.
    address: HOST:PORT of a running Ray cluster; None starts Ray on this machine, listening on loopback alone.
    gpus_per_worker: 0 or 1; None: 1 where there are GPUs, else 0.
    max_failures: how many times the crew is started again.
    on_message: called here, in order, with what members tell; of an attempt that dies, the last of it may be missing.

    Raises: JobError where the crew cannot start, or died once more than `max_failures` times; ValueError for arguments
    out of range.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers is {num_workers}, expected at least 1")
    if gpus_per_worker not in (None, 0, 1):
        raise ValueError(f"gpus_per_worker is {gpus_per_worker}, expected 0, 1 or None")
    if max_failures < 0:
        raise ValueError(f"max_failures is {max_failures}, expected at least 0")
    if num_workers == 1 and address is None:
        with checked(on_message) as tell:
            return train(Member(0, 1, _own_device(gpus_per_worker), 0, tell))

    from jobs.crew.ray_crew import train_on_ray

    return train_on_ray(
        train,
        num_workers=num_workers,
        address=address,
        gpus_per_worker=gpus_per_worker,
        max_failures=max_failures,
        on_message=on_message,
    )


def _own_device(gpus: int | None) -> torch.device:
    import torch

    available = torch.cuda.is_available()
    if gpus and not available:
        raise JobError("a GPU is asked for, and there is none that PyTorch can use here; train on the CPU instead")
    return torch.device("cuda" if available and gpus != 0 else "cpu")
