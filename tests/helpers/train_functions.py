"""Training functions for the tests: importable by the members of a crew, and by drivers that the tests start."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.job_workers import LONG, FullDisk

from jobs.crew.member import Member


def sum_of_ranks(member: Member) -> float:
    """Over the whole crew, each rank counted from 1."""
    import torch

    total = torch.tensor(member.rank + 1.0, device=member.device)
    torch.distributed.all_reduce(total)
    return float(total)


def alone(member: Member) -> tuple[int, int, int, str, int]:
    member.tell("half way")
    return member.rank, member.num_members, member.attempt, str(member.device), os.getpid()


@dataclass(frozen=True)
class DiesOnce:
    """Rank 1 kills its process in the first attempt, while the others wait for it."""

    def __call__(self, member: Member) -> dict[str, object]:
        import torch

        sum_of_ranks(member)
        if member.rank == 1 and member.attempt == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        member.tell((member.attempt, member.rank))
        total = sum_of_ranks(member)
        return {
            "total": total,
            "attempt": member.attempt,
            "num_members": member.num_members,
            "device": str(member.device),
            "threads": torch.get_num_threads(),
            "backend": torch.distributed.get_backend(),
            "cwd": str(Path.cwd()),
        }


@dataclass(frozen=True)
class Fails:
    """Rank 1 raises, while the others wait for it; the folder gets a file for each call."""

    folder: Path

    def __call__(self, member: Member) -> None:
        (self.folder / f"{member.attempt}-{member.rank}").touch()
        if member.rank == 1:
            raise FullDisk("checkpoint.safetensors", "no space left")
        sum_of_ranks(member)


@dataclass(frozen=True)
class Waits:
    """Leaves a file, named by its process id, in a folder as soon as the crew has met, and stays for half an hour."""

    folder: Path

    def __call__(self, member: Member) -> None:
        sum_of_ranks(member)
        (self.folder / str(os.getpid())).touch()
        time.sleep(LONG)
