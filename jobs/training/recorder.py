"""What a training does beside its steps: it keeps records, looks at what the network can do, saves, and reports."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.console.progress import Advance
from jobs.crew.member import Member
from jobs.training.run_folder import save_checkpoint
from jobs.training.run_log import RunLog
from jobs.training.task import Task, by_name

REPORT_EVERY = 1.0  # seconds


class Recorder:
    """All members look together; the first of them writes and reports."""

    def __init__(self, out: Path, task: Task[Any, Any], member: Member) -> None:
        self._out, self._task, self._member = out, task, member
        self._log = RunLog(out, task.state.step) if member.rank == 0 else None
        if self._log:
            self._log.write(task.state.step, **task.beginning())
        self._terms: list[Mapping[str, Tensor]] = []  # of each step since the last line of the log
        self._line_at = self._reported_at = time.monotonic()

    def after_step(self, rate: float, terms: Mapping[str, Tensor], output: Any) -> None:
        """terms: the losses of the step, by name. output: what the network made of its last part."""
        step = self._task.state.step
        due = self._task.due(step)
        if self._log:
            self._terms.append(terms)
            if due.log:
                self._write_losses(self._log, step, rate)
        line, began = None, time.monotonic()
        if due.look:
            line = self._task.look(output, self._log)
        if due.save and self._member.rank == 0:
            self._task.save_networks()  # first: a training whose checkpoint says that it is at its end does no more
            save_checkpoint(self._out, self._task.state.saved() | self._task.memory())
        self._line_at += time.monotonic() - began  # the pace is that of the steps alone
        if line or step == self._task.num_steps or time.monotonic() - self._reported_at > REPORT_EVERY:
            self._report(line)

    def close(self) -> None:
        if self._log:
            self._log.close()

    def _report(self, line: str | None) -> None:
        if self._member.rank == 0:
            self._member.tell(Advance(self._task.state.step, self._task.num_steps, line))
        self._reported_at = time.monotonic()

    def _write_losses(self, log: RunLog, step: int, rate: float) -> None:
        now = time.monotonic()
        name, per_step = self._task.speed
        means = {term: _mean(values) for term, values in by_name(self._terms).items()}
        pace = {name: len(self._terms) * per_step / (now - self._line_at)}
        log.write(step, **means, learning_rate=rate, **pace)
        self._terms, self._line_at = [], now


def _mean(scalars: list[Tensor]) -> float:
    return torch.stack(scalars).mean().item()
