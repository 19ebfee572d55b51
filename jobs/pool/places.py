"""Where workers sit: how many each node has room for, and what each of them has there."""

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What a node has for workers. gpu_bytes: of memory, in each of its GPUs; 0 where that is not known."""

    cores: int
    gpus: int = 0
    gpu_bytes: int = 0


@dataclass(frozen=True)
class Share:
    """What a worker has of its node: whole cores, and GPUs, which may be a fraction of one."""

    cores: int
    gpus: float = 0.0


@dataclass(frozen=True)
class Staff:
    """The workers of one node, and what each of them has."""

    host: str
    num_workers: int
    share: Share


Room = Callable[[Machine], int]


def one_per_core(machine: Machine) -> int:
    """Room for a worker on each core."""
    return machine.cores


def rooms(machines: Mapping[str, Machine], room: Room) -> dict[str, int]:
    """How many workers each node has room for, of those that have any.

    Where one has GPUs, those without have none: each would still be at its first unit when the others are done.
    """
    with_gpus = any(machine.gpus for machine in machines.values())
    counts = {
        node: room(machine) for node, machine in machines.items() if (machine.gpus if with_gpus else machine.cores)
    }
    return {node: count for node, count in counts.items() if count > 0}


def allot(rooms: Mapping[str, int], num_workers: int | None) -> dict[str, int]:
    """So many workers, one after the other to the node that is least full then; None: as many as there is room for."""
    if num_workers is None:
        return dict(rooms)
    staff: Counter[str] = Counter()
    for _ in range(num_workers if rooms else 0):
        staff[min(rooms, key=lambda node: staff[node] / rooms[node])] += 1
    return dict(staff)


def share(machine: Machine, num_workers: int) -> Share:
    """What each of so many workers has. Those that outnumber cores or GPUs share them."""
    gpus = min(1.0, math.floor(machine.gpus / num_workers * 1e4) / 1e4)  # Ray counts in 1/10,000
    return Share(cores=max(1, machine.cores // num_workers), gpus=gpus)


def own_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))
