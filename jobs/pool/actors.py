"""The Ray engine: one actor per worker, one unit per actor at a time."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from jobs.errors import JobError
from jobs.pool.units import Outcome, Record, Unit, Worker, attempt_name
from jobs.ray.cluster import connected
from jobs.ray.signals import interruptible

POLL_SECONDS = 0.5
PULSE_SECONDS = 10.0
PATIENCE_SECONDS = 30.0

logger = logging.getLogger(__name__)


def run_on_ray(
    units: Sequence[Unit],
    make_worker: Callable[[], Worker[Unit, Record]],
    *,
    num_workers: int | None,
    address: str | None,
    cpus_per_worker: int,
    gpus_per_worker: float,
    max_attempts: int,
    on_progress: Callable[[int], None],
    on_started: Callable[[], None],
) -> Generator[Outcome[Record], None, None]:
    """See `jobs.pool.run.run_units`."""
    if not units:
        on_started()
        return
    num_cpus = None if num_workers is None else min(num_workers, len(units))
    with connected(address, num_cpus=num_cpus) as ray, interruptible() as check:
        num_workers, gpus = plan_workers(
            ray.cluster_resources(), len(units), num_workers, cpus_per_worker, gpus_per_worker
        )
        crew = _Crew(ray, units, make_worker, gpus, max_attempts, on_progress)
        try:
            yield from crew.outcomes(num_workers, on_started, check)
        finally:
            crew.dismiss()


def plan_workers(
    resources: dict[str, float],
    num_units: int,
    num_workers: int | None,
    cpus_per_worker: int,
    gpus_per_worker: float,
) -> tuple[int, float]:
    """How many workers, and how many GPUs each takes. Workers that outnumber the GPUs share them."""
    gpus = min(gpus_per_worker, resources.get("GPU", 0.0))
    if num_workers is None:
        slots = resources["GPU"] / gpus if gpus else resources.get("CPU", 0.0) / cpus_per_worker
        num_workers = max(1, int(slots))
    num_workers = min(num_workers, num_units)
    if gpus and num_workers > resources["GPU"]:
        gpus = min(gpus, math.floor(resources["GPU"] / num_workers * 1e4) / 1e4)  # Ray counts in 1/10,000
    return num_workers, gpus


class UnitActor:
    """The inside of an actor: owns one worker. `progress` is called in another thread while `run` is busy."""

    def __init__(self) -> None:
        self._progress = ("", 0)

    def make(self, make_worker: Callable[[], Worker[Any, Any]]) -> None:
        self._worker = make_worker()

    def run(self, unit: object, attempt: str) -> tuple[object, int]:
        """The worker's record, and how much it reported."""
        self._progress = (attempt, 0)
        record = self._worker(unit, attempt, self._report)
        return record, self._progress[1]

    def _report(self, count: int) -> None:
        attempt, done = self._progress
        self._progress = (attempt, done + count)

    def progress(self) -> tuple[str, int]:
        """The attempt under way, and how much it has reported."""
        return self._progress


@dataclass
class _Attempt:
    """One try at one unit by one actor; `poll` is the question after its progress that is under way."""

    index: int
    number: int
    name: str
    actor: Any
    reported: int = 0
    poll: Any = None


class _Crew:
    """The actors of one run and what they are at, by the reference on which each of them ends."""

    def __init__(
        self,
        ray: ModuleType,
        units: Sequence[Any],
        make_worker: Callable[[], Worker[Any, Any]],
        gpus: float,
        max_attempts: int,
        on_progress: Callable[[int], None],
    ) -> None:
        self._ray, self._units, self._make_worker = ray, units, make_worker
        self._max_attempts, self._on_progress = max_attempts, on_progress
        self._waiting = deque((index, 1) for index in range(len(units)))
        self._actors: set[Any] = set()
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, _Attempt] = {}
        self._start_deaths = 0
        self._next_poll = 0.0
        self._next_pulse = time.monotonic() + PULSE_SECONDS
        # progress has a thread of its own; a core per worker, as GPUs are what limits the others
        self._actor_class = ray.remote(
            num_cpus=0 if gpus else 1, num_gpus=gpus, max_restarts=0, concurrency_groups={"progress": 1}
        )(UnitActor)
        self._deaths = (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError)

    def outcomes(
        self, num_workers: int, on_started: Callable[[], None], check: Callable[[], None]
    ) -> Iterator[Outcome[Any]]:
        for _ in range(num_workers):
            self._hire()
        impatient_at = time.monotonic() + PATIENCE_SECONDS
        started = False
        while self._starting or self._running:
            check()
            ready, _ = self._ray.wait([*self._running, *self._starting], num_returns=1, timeout=POLL_SECONDS)
            self._poll()
            self._feel_pulse()
            for reference in ready:
                if reference in self._running:
                    yield from self._end(reference)
                elif self._made(reference) and not started:
                    started = True
                    on_started()
            if not started and time.monotonic() > impatient_at:
                impatient_at = math.inf
                logger.warning("no worker has started for %.0f s: is the cluster busy?", PATIENCE_SECONDS)

    def dismiss(self) -> None:
        """Stop every actor, whatever it is at."""
        for actor in list(self._actors):
            self._fire(actor)

    def _hire(self) -> None:
        actor = self._actor_class.remote()
        self._actors.add(actor)
        self._starting[actor.make.remote(self._make_worker)] = actor

    def _fire(self, actor: Any) -> None:
        # explicitly: a handle that is merely forgotten may live on in a traceback, and its actor with it
        self._actors.discard(actor)
        self._ray.kill(actor)

    def _made(self, reference: Any) -> bool:
        """Whether an actor has its worker; then it has its first unit too."""
        actor = self._starting.pop(reference)
        try:
            self._result(reference)
        except self._deaths as death:
            self._fire(actor)
            self._start_deaths += 1
            if self._start_deaths >= self._max_attempts:
                raise JobError(
                    f"workers cannot start: their process died {self._start_deaths} times ({_reason(death)}); "
                    "free memory, ask for fewer workers, or use `--engine local` to see what happens"
                ) from death
            self._hire()
            return False
        self._assign(actor)
        return True

    def _assign(self, actor: Any) -> None:
        """Give a free actor its next unit; without one, it is no longer needed."""
        if not self._waiting:
            self._fire(actor)
            return
        index, number = self._waiting.popleft()
        attempt = _Attempt(index, number, attempt_name(), actor)
        self._running[actor.run.remote(self._units[index], attempt.name)] = attempt

    def _end(self, reference: Any) -> Iterator[Outcome[Any]]:
        attempt = self._running.pop(reference)
        try:
            record, reported = self._result(reference)
        except self._deaths as death:
            self._progressed(attempt, 0)
            self._fire(attempt.actor)  # it may merely be out of reach
            if attempt.number < self._max_attempts:
                self._waiting.appendleft((attempt.index, attempt.number + 1))
            if self._waiting:
                self._hire()
            if attempt.number == self._max_attempts:
                yield Outcome(attempt.index, None, self._gave_up(death), attempt.number)
        else:
            self._assign(attempt.actor)
            self._progressed(attempt, reported)
            yield Outcome(attempt.index, record, None, attempt.number)

    def _gave_up(self, death: Exception) -> str:
        return (
            f"its worker process died {self._max_attempts} times ({_reason(death)}); if memory is short, use "
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

    def _feel_pulse(self) -> None:
        """Raise JobError where no node of Ray's is alive: then nothing would ever answer again."""
        if time.monotonic() < self._next_pulse:
            return
        self._next_pulse = time.monotonic() + PULSE_SECONDS
        if not any(node["Alive"] for node in self._ray.nodes()):
            raise JobError(
                "Ray itself has died: none of its nodes is alive; run the same command again, which goes on where this "
                "ended, and if it happens again, use `--engine local`"
            )

    def _heard(self, attempt: _Attempt) -> None:
        try:
            name, reported = self._ray.get(attempt.poll)
        except self._deaths:
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
            raise JobError(f"a worker failed: {_last_line(error)}") from error
        except exceptions.UnserializableException as error:
            raise JobError(f"a worker failed: {_last_line(error)}") from error


def _reason(death: Exception) -> str:
    """Ray's own words on a death, without its advice."""
    text = str(death).strip()
    detail = text.partition("Worker exit detail: ")[2] or text.splitlines()[0]
    return detail.partition(" Some common causes")[0].rstrip(". ")


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
