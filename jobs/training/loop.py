"""The loop of every training: step by step from samples to weights, on one member or several, resumed exactly.

What is trained, on what and towards what, its task says: `jobs.training.task`.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from jobs.console.progress import Advance
from jobs.crew.launch import launch
from jobs.crew.member import Member
from jobs.training.devices import GPUS_PER_WORKER
from jobs.training.memory import enough_memory
from jobs.training.recorder import Recorder
from jobs.training.run_folder import load_checkpoint, unusable
from jobs.training.runtime import Runtime
from jobs.training.task import Job, Losses, Task, by_name


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training has come to: the steps done, the seconds of this run, and what its task remembers."""

    steps: int
    seconds: float
    memory: Mapping[str, Any]


def train(
    job: Job, *, num_workers: int, address: str | None, device: str, on_progress: Callable[[Advance], None]
) -> Training:
    """Train in the folder `job.out`, or go on from the checkpoint that is there; the caller holds the folder.

    On a CPU, with the same number of threads and workers, an interrupted and resumed training gives the weights of an
    uninterrupted one, bit for bit.

    num_workers, address: see `launch`. device: one of DEVICES.
    Raises: JobError; FitError where a loss or gradient is not finite; TooLargeError where memory runs out;
    RunFolderError where something cannot be written; and what the task raises. What was saved before stays.
    """
    return launch(
        partial(_train, job),
        num_workers=num_workers,
        address=address,
        gpus_per_worker=GPUS_PER_WORKER[device],
        on_message=on_progress,
    )


def _train(job: Job, member: Member) -> Training:
    """One member's part: it steps and looks with all others; the first of them writes and reports."""
    runtime = Runtime(device=member.device, dtype=getattr(torch, job.dtype), compile=job.compile)
    task = job.open(member, runtime)
    saved = load_checkpoint(job.out)
    if saved is not None:
        _restore(task, saved, job.out)
    if member.rank == 0:
        member.tell(Advance(task.state.step, task.num_steps, task.introduction()))
    started = time.monotonic()
    if task.state.step < task.num_steps:
        recorder = Recorder(job.out, task, member)
        devices = [runtime.device] if runtime.device.type == "cuda" else []
        try:
            advice = "a smaller --crop or --batch-size"
            with torch.random.fork_rng(devices), enough_memory(runtime.device, "in a step of training", advice):
                _run_steps(task, member, runtime, recorder)
        finally:
            recorder.close()
    return Training(steps=task.state.step, seconds=time.monotonic() - started, memory=task.memory())


def _restore(task: Task[Any, Any], saved: Mapping[str, Any], out: Path) -> None:
    """Raises: RunFolderError, where what was saved is of another training."""
    try:
        task.state.restore(saved)
        task.recall(saved)
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        first_line = str(error).partition("\n")[0]
        raise unusable(out, f"of another training ({type(error).__name__}: {first_line})") from error


def _run_steps(task: Task[Any, Any], member: Member, runtime: Runtime, recorder: Recorder) -> None:
    state = task.state
    crew = DistributedDataParallel(task.network, broadcast_buffers=False) if member.num_members > 1 else None
    network = crew or task.network
    batches = task.batches(range(state.step, task.num_steps))
    for step in range(state.step, task.num_steps):
        rate = task.learning_rate(step)
        parts: list[Losses] = []
        for part in range(1, task.num_parts + 1):
            batch = next(batches)
            torch.manual_seed(_seed(task.seed, step, part, member.rank))
            with nullcontext() if crew is None or part == task.num_parts else crew.no_sync():
                with runtime.autocast():
                    output = task.forward(network, batch)
                losses = task.losses(output)
                share = losses.total / task.num_parts
                state.backward(share)
            parts.append(Losses(share.detach(), {name: term.detach() for name, term in losses.terms.items()}))
        total = torch.stack([part.total for part in parts]).sum()
        if not state.update(rate, total):
            raise task.not_finite(step, rate, total.item())
        recorder.after_step(rate, _means([part.terms for part in parts]), output)


def _seed(*numbers: int) -> int:
    """Another one for other numbers: what is random in a step must not depend on what came before it, or a restart."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _means(parts: list[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Of the terms of a step's parts, each of those that have it."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.stack(values).mean() for name, values in by_name(parts).items()}
