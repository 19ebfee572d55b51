"""How many workers machines have room for, beside a network and without one, and how that is said."""

import pytest

from jobs.pool.places import Machine, Share, Staff
from propagate.job.places import computing_threads, decoding_threads, room_for, told

GIB = 2**30
DGX = Machine(cores=40, gpus=8, gpu_bytes=16 * GIB)


@pytest.mark.parametrize(
    ("machine", "is_network", "expected"),
    [
        (Machine(cores=8), False, 8),
        (Machine(cores=8), True, 1),
        (Machine(cores=4), True, 1),
        (Machine(cores=40), True, 5),
        (DGX, True, 8),
        (Machine(cores=16, gpus=1, gpu_bytes=140 * GIB), True, 5),
        (Machine(cores=16, gpus=1, gpu_bytes=16 * GIB), True, 2),  # more would not fit into it
        (Machine(cores=16, gpus=1), True, 1),  # nor would they where its memory is not known
        (Machine(cores=2, gpus=4, gpu_bytes=16 * GIB), True, 4),
    ],
)
def test_room(machine: Machine, is_network: bool, expected: int) -> None:
    assert room_for(is_network=is_network)(machine) == expected


@pytest.mark.parametrize(
    ("share", "is_network", "computing", "decoding"),
    [
        (Share(cores=1), False, 1, 1),
        (Share(cores=40), False, 1, 4),
        (Share(cores=40), True, 8, 4),
        (Share(cores=5, gpus=1), True, 1, 3),
        (Share(cores=3, gpus=0.2), True, 1, 1),
        (Share(cores=1, gpus=1), True, 1, 1),
    ],
)
def test_threads(share: Share, is_network: bool, computing: int, decoding: int) -> None:
    assert computing_threads(share, is_network=is_network) == computing
    assert decoding_threads(share) == decoding


def test_what_is_told() -> None:
    alike = [Staff(f"n{number}", 8, Share(cores=5, gpus=1)) for number in (1, 2)]
    others = [Staff("n3", 5, Share(cores=3, gpus=0.2)), Staff("n4", 1, Share(cores=1))]
    assert list(told([*alike, *others], is_network=True)) == [
        "each of 2 nodes: 8 workers with 5 cores and a GPU each, decoding on 3",
        "n3: 5 workers with 3 cores and 0.2 of a GPU each, decoding on 1",
        "n4: 1 worker with 1 core",
    ]
    assert list(told([Staff("n5", 2, Share(cores=4))], is_network=False)) == ["n5: 2 workers"]
