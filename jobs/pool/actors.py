"""The Ray engine: one actor per worker, one unit per actor at a time."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

from jobs.errors import JobError
from jobs.pool.actor import UnitActor
from jobs.pool.places import Room, Share, Staff, own_cores
from jobs.pool.queue import Queue, Turn
from jobs.pool.staffing import Staffing, only
from jobs.pool.units import Doubtful, Outcome, Record, Unit, Worker, attempt_name
from jobs.ray.cluster import connected
from jobs.ray.nodes import Pulse
from jobs.ray.switches import first_line
from jobs.signals import interruptible

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
GO_ON = "run the same command again, which goes on where this ended; if it happens again, use `--engine local`"

logger = logging.getLogger(__name__)


def run_on_ray(
    units: Sequence[Unit],
    make_worker: Callable[[Share], Worker[Unit, Record]],
    *,
    num_workers: int | None,
    address: str | None,
    room: Room,
    gpus: bool,
    max_attempts: int,
    on_progress: Callable[[int], None],
    on_started: Callable[[Sequence[Staff]], None],
    on_barred: Callable[[str], None],
) -> Generator[Outcome[Record], None, None]:
    """See `jobs.pool.run.run_units`."""
    if not units:
        on_started(())
        return
    num_cpus = None if num_workers is None or num_workers <= own_cores() else num_workers
    with connected(address, num_cpus=num_cpus) as ray, interruptible() as check:
        pulse = Pulse(ray, GO_ON)
        staffing = Staffing(ray, pulse, room=room, takes_gpus=gpus, num_workers=num_workers)
        crew = _Crew(ray, pulse, staffing, units, make_worker, max_attempts, on_progress, on_barred)
        try:
            yield from crew.outcomes(on_started, check)
        finally:
            crew.dismiss()


@dataclass
class _Attempt:
    """One turn of one actor; `poll` is the question after its progress that is under way."""

    turn: Turn
    name: str
    actor: Any
    node: str
    reported: int = 0
    poll: Any = None


class _UnreadError(JobError):
    """What an actor was sent cannot be read there, since something is not installed."""


class _Crew:
    """The actors of one run and what they are at, by the reference on which each of them ends."""

    def __init__(
        self,
        ray: ModuleType,
        pulse: Pulse,
        staffing: Staffing,
        units: Sequence[Any],
        make_worker: Callable[[Share], Worker[Any, Any]],
        max_attempts: int,
        on_progress: Callable[[int], None],
        on_barred: Callable[[str], None],
    ) -> None:
        self._ray, self._pulse, self._staffing = ray, pulse, staffing
        self._units, self._make_worker = units, make_worker
        self._max_attempts, self._on_progress, self._on_barred = max_attempts, on_progress, on_barred
        self._queue = Queue(len(units))
        self._actors: dict[Any, str] = {}
        self._spare: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, _Attempt] = {}
        self._failed_starts: dict[str, list[str]] = {}
        self._next_poll = 0.0
        # progress has a thread of its own
        self._actor_class = ray.remote(max_restarts=0, concurrency_groups={"progress": 1})(UnitActor)
        staffing.survey(pulse.wait())

    def outcomes(
        self, on_started: Callable[[Sequence[Staff]], None], check: Callable[[], None]
    ) -> Iterator[Outcome[Any]]:
        impatient_at = time.monotonic() + PATIENCE_SECONDS
        started = False
        while self._queue or self._running:
            check()
            self._staff()
            awaited = [*self._running, *self._starting, *self._staffing.questions]
            ready: Sequence[Any] = ()
            if awaited:
                ready, _ = self._ray.wait(awaited, num_returns=1, timeout=POLL_SECONDS)
            else:  # no node has room; Ray would not wait for nothing
                time.sleep(POLL_SECONDS)
            self._poll()
            self._look_around()
            for reference in ready:
                if reference in self._running:
                    yield from self._end(reference)
                elif reference in self._staffing.questions:
                    self._staffing.hear(reference)
                elif reference in self._starting and self._made(reference) and not started:
                    started = True
                    on_started(self._staffing.told(self._allotted()))
            if self._running:
                impatient_at = time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > impatient_at:
                impatient_at = math.inf
                logger.warning(
                    "no worker has been at work for %.0f s: is the cluster busy, or are its nodes gone?",
                    PATIENCE_SECONDS,
                )

    def dismiss(self) -> None:
        """Stop every actor, whatever it is at."""
        with suppress(JobError):  # where Ray has died, so have they
            for actor in list(self._actors):
                self._fire(actor)

    def _look_around(self) -> None:
        """Take notice of nodes that have come and gone. Raises: JobError where Ray has died."""
        if (nodes := self._pulse.feel()) is None:
            return
        self._staffing.survey(nodes)
        for reference, actor in list(self._starting.items()):
            if not self._staffing.is_there(self._actors[actor]):  # it would wait for its node for ever
                del self._starting[reference]
                self._fire(actor)
        self._judge_starts()
        self._queue.settle(self._staffing.places())

    def _allotted(self) -> dict[str, int]:
        return self._staffing.allotted(self._queue.useless())

    def _staff(self) -> None:
        """Fire who is not needed, and hire while units wait and nodes have room."""
        while self._spare:
            self._fire(self._spare.pop())
        allotted = self._allotted()
        needed = min(sum(allotted.values()), len(self._queue) + len(self._running))
        while len(self._actors) < needed:
            vacancy = self._staffing.vacancy(allotted, Counter(self._actors.values()))
            if vacancy is None:
                return
            self._hire(*vacancy)

    def _hire(self, node: str, share: Share) -> None:
        # a core, but where GPUs are what limits the others
        actor_class = self._actor_class.options(
            num_cpus=0 if share.gpus else 1, num_gpus=share.gpus, label_selector=only(node)
        )
        actor = self._pulse.during(actor_class.remote)
        self._actors[actor] = node
        self._starting[actor.make.remote(partial(self._make_worker, share))] = actor

    def _fire(self, actor: Any) -> None:
        # explicitly: a handle that is merely forgotten may live on in a traceback, and its actor with it
        self._actors.pop(actor, None)
        with suppress(self._ray.exceptions.RayError):  # then it is gone, or goes with its node
            self._pulse.during(partial(self._ray.kill, actor))

    def _made(self, reference: Any) -> bool:
        """Whether an actor has its worker; then it has its first unit too."""
        actor = self._starting.pop(reference)
        node = self._actors[actor]
        try:
            lack = self._result(reference)
        except _UnreadError as failure:
            lack = f"{failure}; install there what this run needs, in the versions that are here"
        except self._ray.exceptions.RayError as failure:
            self._fire(actor)
            if not self._staffing.rest(node):  # those that fail together count once
                self._failed_starts.setdefault(node, []).append(_reason(failure))
            return False
        self._failed_starts.pop(node, None)
        if lack is not None:
            self._fire(actor)
            self._bar(node, lack)
            return False
        self._assign(actor, node)
        return True

    def _judge_starts(self) -> None:
        """Give nodes no more work where workers fail to start, unless the nodes themselves are gone."""
        for node, reasons in list(self._failed_starts.items()):
            if not self._staffing.is_there(node):
                del self._failed_starts[node]
            elif len(reasons) >= self._max_attempts:
                del self._failed_starts[node]
                self._bar(
                    node,
                    f"workers failed to start {len(reasons)} times ({reasons[-1]}); free memory, ask for fewer "
                    "workers, or use `--engine local` to see what happens",
                )

    def _bar(self, node: str, lack: str) -> None:
        """Give a node no more work. Raises: JobError where it was the last one that had a place for a worker."""
        sentence = self._staffing.bar(node, lack)
        if sentence is None:
            return
        self._on_barred(sentence)
        if not self._staffing.places():
            raise JobError(f"no node can do the work: {'; '.join(self._staffing.barred.values())}")
        self._queue.settle(self._staffing.places())

    def _assign(self, actor: Any, node: str) -> None:
        """Give a free actor its next unit; without one for it, it is no longer needed."""
        turn = self._queue.take(node)
        if turn is None:
            self._spare.append(actor)
            return
        attempt = _Attempt(turn, attempt_name(), actor, node)
        self._running[actor.run.remote(self._units[turn.index], attempt.name)] = attempt

    def _end(self, reference: Any) -> Iterator[Outcome[Any]]:
        attempt = self._running.pop(reference)
        turn = attempt.turn
        try:
            record, reported = self._result(reference)
        except self._ray.exceptions.RayError as death:
            self._progressed(attempt, 0)
            self._fire(attempt.actor)  # it may merely be out of reach
            if turn.number < self._max_attempts:
                self._queue.again(replace(turn, number=turn.number + 1))
            else:
                yield Outcome(turn.index, None, self._gave_up(death), turn.number)
            return
        if isinstance(record, Doubtful) and not turn.doubted and self._staffing.places() - {attempt.node}:
            self._progressed(attempt, 0)
            self._queue.again(replace(turn, doubted=True, avoid=attempt.node))
            self._assign(attempt.actor, attempt.node)
            return
        self._assign(attempt.actor, attempt.node)
        self._progressed(attempt, reported)
        yield Outcome(turn.index, record.record if isinstance(record, Doubtful) else record, None, turn.number)

    def _gave_up(self, death: Exception) -> str:
        return (
            f"its worker failed {self._max_attempts} times ({_reason(death)}); if memory is short, use "
            "fewer workers; else try it with `--engine local` to see what happens"
        )

    def _poll(self) -> None:
        """Take the answers on progress that have come, and ask again. A dead actor has none."""
        if time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + POLL_SECONDS
        asked = [attempt.poll for attempt in self._running.values() if attempt.poll is not None]
        answered = set(self._ray.wait(asked, num_returns=len(asked), timeout=0)[0]) if asked else set()
        for attempt in self._running.values():
            if attempt.poll in answered:
                self._heard(attempt)
                attempt.poll = None
            if attempt.poll is None:
                attempt.poll = attempt.actor.progress.options(concurrency_group="progress").remote()

    def _heard(self, attempt: _Attempt) -> None:
        try:
            name, reported = self._ray.get(attempt.poll)
        except self._ray.exceptions.RayError:
            return
        if name == attempt.name:
            self._progressed(attempt, reported)

    def _progressed(self, attempt: _Attempt, reported: int) -> None:
        if change := reported - attempt.reported:
            attempt.reported = reported
            self._on_progress(change)

    def _result(self, reference: Any) -> Any:
        """What a call returned. What it raised is raised as the same type, the worker's traceback as its cause."""
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, Exception) and not isinstance(error.cause, exceptions.RayError):
                raise error.cause from error
            kind = _UnreadError if isinstance(error.cause, exceptions.RaySystemError) else JobError
            raise kind(f"a worker failed: {_last_line(error)}") from error
        except exceptions.UnserializableException as error:
            raise JobError(f"a worker failed: {_last_line(error)}") from error


def _reason(death: Exception) -> str:
    """Ray's own words on a death, without its advice."""
    text = str(death).strip()
    detail = text.partition("Worker exit detail: ")[2] or first_line(death)
    return detail.partition(" Some common causes")[0].rstrip(". ")


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
