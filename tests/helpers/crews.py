"""A crew without Ray, for what its members do with one another: `tests/jobs/crew` has Ray's."""

import multiprocessing
import tempfile
from collections.abc import Callable
from functools import partial
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
from torch import distributed

from jobs.crew.member import Member


def launch_spawned(
    train: Callable[[Member], Any], *, num_workers: int, on_message: Callable[[Any], None], **_: object
) -> Any:
    """`jobs.crew.launch.launch`, with members that are processes of this one's, on one thread each."""
    context = multiprocessing.get_context("forkserver")  # which imports what takes seconds once for all members
    # not before: other tests have their own
    context.set_forkserver_preload(["torch._dynamo", "sdcnet.fit.training", "segtrain.video_fit.training"])
    told: SimpleQueue[tuple[str, Any]] = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        members = [
            context.Process(target=_serve, args=(train, rank, num_workers, meeting, told), daemon=True)
            for rank in range(num_workers)
        ]
        for member in members:
            member.start()
        while (said := told.get())[0] == "message":
            on_message(said[1])
        for member in members:
            if said[0] == "raised":
                member.kill()
            member.join()
    assert said[0] == "returned", said[1]
    return said[1]


def _serve(
    train: Callable[[Member], Any], rank: int, num_members: int, meeting: str, told: "SimpleQueue[tuple[str, Any]]"
) -> None:
    torch.set_num_threads(1)
    try:
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_members)
        result = train(Member(rank, num_members, torch.device("cpu"), 0, partial(_tell, told)))
    except BaseException as error:
        told.put(("raised", repr(error)))
        raise
    if rank == 0:
        told.put(("returned", result))


def _tell(told: "SimpleQueue[tuple[str, Any]]", message: Any) -> None:
    told.put(("message", message))
