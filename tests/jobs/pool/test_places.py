"""How many workers each node gets, and what they have there."""

import pytest

from jobs.pool.places import Machine, Share, allot, one_per_core, rooms, share

DGX = Machine(cores=40, gpus=8, gpu_bytes=16 * 2**30)
LARGE = Machine(cores=16, gpus=1, gpu_bytes=140 * 2**30)
LAPTOP = Machine(cores=8)
HEAD = Machine(cores=0)


def per_gpu(machine: Machine) -> int:
    """Two to a GPU of more than 100 GiB."""
    return machine.gpus * (2 if machine.gpu_bytes > 100 * 2**30 else 1) or machine.cores


@pytest.mark.parametrize(
    ("machines", "room", "expected"),
    [
        ({"a": LAPTOP, "head": HEAD}, one_per_core, {"a": 8}),
        ({"a": DGX, "b": LARGE}, per_gpu, {"a": 8, "b": 2}),
        ({"a": DGX, "b": LAPTOP}, per_gpu, {"a": 8}),  # it would hold the others up
        ({"a": LAPTOP}, per_gpu, {"a": 8}),
        ({"head": HEAD}, per_gpu, {}),
        ({"head": Machine(cores=0, gpus=1)}, per_gpu, {"head": 1}),
    ],
)
def test_rooms(machines: dict[str, Machine], room: object, expected: dict[str, int]) -> None:
    assert rooms(machines, room) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("room", "num_workers", "expected"),
    [
        ({"a": 8, "b": 2}, None, {"a": 8, "b": 2}),
        ({"a": 8, "b": 2}, 5, {"a": 4, "b": 1}),
        ({"a": 8, "b": 8}, 3, {"a": 2, "b": 1}),
        ({"a": 1, "b": 1}, 1, {"a": 1}),
        ({"a": 8, "b": 2}, 20, {"a": 16, "b": 4}),  # who asks for more than there is room for gets it
        ({}, 3, {}),
    ],
)
def test_workers_are_allotted_by_room(room: dict[str, int], num_workers: int | None, expected: dict[str, int]) -> None:
    assert allot(room, num_workers) == expected


@pytest.mark.parametrize(
    ("machine", "num_workers", "expected"),
    [
        (DGX, 8, Share(cores=5, gpus=1)),
        (DGX, 2, Share(cores=20, gpus=1)),
        (LARGE, 3, Share(cores=5, gpus=0.3333)),
        (LAPTOP, 1, Share(cores=8)),
        (LAPTOP, 20, Share(cores=1)),
    ],
)
def test_what_a_worker_has(machine: Machine, num_workers: int, expected: Share) -> None:
    assert share(machine, num_workers) == expected
