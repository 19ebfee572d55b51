"""How many workers a machine has room for, and on how many threads each of them works.

Beside a GPU a worker has three things to do at a time: one thread gives the device its work, the others decode and
write, which take about as long as each other (benchmarks/device.py: 0.51 and 0.59 s a clip of ±5 at 1024x2048).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from jobs.pool.places import Machine, Room, Share, Staff, one_per_core

NETWORK_THREADS = 8  # of a network on a CPU: more would not make it much faster, and a worker takes gigabytes
BUSY_CORES = 3
WORKER_BYTES = 8 * 2**30  # of a GPU's memory, for a worker at 1024x2048
MOST_DECODING_THREADS = 4


def room_for(*, is_network: bool) -> Room:
    """How many workers a machine has room for: one per core, but networks take more of it."""
    return network_room if is_network else one_per_core


def network_room(machine: Machine) -> int:
    """One per GPU, or more to keep it busy, as its cores and its memory allow; without a GPU, one per 8 cores."""
    if not machine.gpus:
        return max(1, machine.cores // NETWORK_THREADS)
    by_cores = machine.cores // machine.gpus // BUSY_CORES
    return machine.gpus * max(1, min(by_cores, machine.gpu_bytes // WORKER_BYTES))


def computing_threads(share: Share, *, is_network: bool) -> int:
    """On how many threads PyTorch works; only networks gain from more than one."""
    return min(share.cores, NETWORK_THREADS) if is_network and not share.gpus else 1


def decoding_threads(share: Share) -> int:
    """On how many threads frames are decoded beside a network on a GPU, so that its other threads have a core too."""
    return min(max(1, share.cores + 1 - BUSY_CORES), MOST_DECODING_THREADS)


def teller(say: Callable[[str], None], *, is_network: bool) -> Callable[[Sequence[Staff]], None]:
    """What says who is at work, once it is known."""

    def tell(staff: Sequence[Staff]) -> None:
        for line in told(staff, is_network=is_network):
            say(line)

    return tell


def told(staff: Iterable[Staff], *, is_network: bool) -> Iterator[str]:
    """Who is at work, for people: a line for all nodes that are alike."""
    hosts = {(node.num_workers, node.share): node.host for node in staff}
    for (num_workers, share), count in Counter((node.num_workers, node.share) for node in staff).items():
        where = hosts[num_workers, share] if count == 1 else f"each of {count} nodes"
        line = f"{where}: {num_workers} worker{'s' * (num_workers > 1)}"
        if is_network:
            line += f" with {share.cores} core{'s' * (share.cores > 1)}"
            if share.gpus:
                line += " and a GPU" if share.gpus == 1 else f" and {share.gpus:.2g} of a GPU"
            line += " each" * (num_workers > 1)
            if share.gpus:
                line += f", decoding on {decoding_threads(share)}"
        yield line
