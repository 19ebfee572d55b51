"""Units to outcomes: what both engines promise, and what Ray's has to survive. One Ray serves the whole file."""

import os
import time
from pathlib import Path

import psutil
import pytest
from helpers import job_workers as workers
from helpers.drivers import PATIENCE, wait_for

from jobs.errors import JobError
from jobs.pool import actors
from jobs.pool.run import ENGINES, run_units
from jobs.ray import nodes

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_here")]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_unit_has_one_outcome(engine: str) -> None:
    progress: list[int] = []
    started: list[int] = []
    outcomes = list(
        run_units(
            range(20),
            workers.Square,
            engine=engine,
            on_progress=progress.append,
            on_started=lambda staff: started.append(sum(node.num_workers for node in staff)),
        )
    )
    assert sorted(outcome.index for outcome in outcomes) == list(range(20))
    assert all(outcome.record is not None and outcome.error is None for outcome in outcomes)
    assert {o.index: o.record[0] for o in outcomes if o.record} == {n: n**2 for n in range(20)}
    assert len({o.record[1] for o in outcomes if o.record}) == 20, "attempt names are distinct"
    assert (sum(progress), started) == (40, [0 if engine == "local" else 2])


def test_local_works_in_this_process() -> None:
    outcomes = list(run_units([3], workers.Square, engine="local", num_workers=8))
    assert [o.record[2] for o in outcomes if o.record] == [os.getpid()]


@pytest.mark.parametrize("engine", ENGINES)
def test_without_units_nothing_is_started(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "connected", None)
    started: list[bool] = []
    assert not list(
        run_units([], workers.CannotStart, engine=engine, on_started=lambda staff: started.append(not staff))
    )
    assert started == [True]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_worker_has_one_unit_at_a_time(num_workers: int, tmp_path: Path) -> None:
    outcomes = list(run_units([tmp_path] * 8, workers.Traced, engine="ray", num_workers=num_workers))
    assert max(outcome.record or 0 for outcome in outcomes) == num_workers


def test_a_unit_is_retried_when_its_worker_dies_and_given_up_in_the_end(tmp_path: Path) -> None:
    units = []
    for name, lives in (("well", 1), ("once", 2), ("poison", 99), ("also well", 1)):
        (tmp_path / name).mkdir()
        units.append((tmp_path / name, lives))
    progress: list[int] = []
    run = run_units(units, workers.DiesUntil, engine="ray", num_workers=2, on_progress=progress.append)
    well, once, poison, also_well = sorted(run, key=lambda outcome: outcome.index)

    assert (well.attempts, also_well.attempts) == (1, 1)
    assert well.record is not None
    assert also_well.record is not None
    assert once.attempts == 2
    assert once.record is not None
    assert len(once.record) == 2, "the second attempt had another name"
    assert (poison.record, poison.attempts) == (None, 3)
    assert len(list((tmp_path / "poison").iterdir())) == 3
    assert poison.error is not None
    assert "failed 3 times (Worker unexpectedly exits" in poison.error
    assert "--engine local" in poison.error
    assert -5 in progress, "what a dead worker reported is taken back"
    assert sum(progress) == 15


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_worker_raises_arrives_as_itself(engine: str) -> None:
    begin = time.monotonic()
    with pytest.raises(workers.FullDisk, match=r"^shard-00000\.h5: no space left$") as caught:
        list(run_units(["full", "slow"], workers.Fails, engine=engine, num_workers=2))
    assert type(caught.value) is workers.FullDisk
    assert caught.value.path == "shard-00000.h5"
    assert time.monotonic() - begin < PATIENCE, "the other worker, busy for half an hour, is not waited for"


@pytest.mark.parametrize(("unit", "text"), [("one-way", r"shard-00001\.h5: odd"), ("locked", "a lock is in it")])
def test_what_cannot_travel_is_reported_by_its_text(unit: str, text: str) -> None:
    with pytest.raises(JobError, match=f"^a worker failed: .*{text}"):
        list(run_units([unit], workers.Fails, engine="ray", num_workers=1))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_that_cannot_be_made_is_reported_at_once(engine: str) -> None:
    with pytest.raises(workers.FullDisk, match=r"^weights\.pt: cannot be read$"):
        list(run_units([1, 2, 3], workers.CannotStart, engine=engine, num_workers=2))


def test_workers_that_die_at_start_are_not_hired_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "PULSE_SECONDS", 0.5)  # after each they are hired again
    with pytest.raises(JobError, match=r"^no node can do the work: .*: workers failed to start 2 times"):
        list(run_units([1], workers.DiesAtStart, engine="ray", num_workers=1, max_attempts=2))


class Enough(Exception):
    pass


def test_progress_arrives_in_the_middle_of_a_unit_and_a_failing_driver_stops_its_workers(tmp_path: Path) -> None:
    heard: list[tuple[float, int]] = []

    def on_progress(count: int) -> None:
        heard.append((time.monotonic(), count))
        if len(heard) == 4:
            raise Enough

    with pytest.raises(Enough):
        list(run_units([tmp_path], workers.Slow, engine="ray", num_workers=1, on_progress=on_progress))
    seconds = heard[-1][0] - heard[0][0]
    assert seconds / 3 < 1.0, "about twice a second"
    assert 4 <= sum(count for _, count in heard) <= 10 * (seconds + 2)
    (pid,) = [int(path.stem) for path in tmp_path.iterdir()]
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the worker")


def test_closing_early_stops_the_workers_and_leaves_the_callers_ray(tmp_path: Path) -> None:
    run = run_units([tmp_path / "short", tmp_path], workers.SlowUnlessShort, engine="ray", num_workers=2)
    assert next(run).index == 0
    run.close()
    (pid,) = [int(path.stem) for path in tmp_path.iterdir()]
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the worker")
    assert len(list(run_units([1], workers.Square, engine="ray"))) == 1, "the caller's Ray is still up"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"engine": "dask"}, "engine is 'dask', expected one of ray, local"),
        ({"engine": "ray", "num_workers": 0}, "num_workers is 0"),
        ({"engine": "ray", "max_attempts": 0}, "max_attempts is 0"),
        ({"engine": "local", "address": "host:6379"}, "it cannot join host:6379"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        run_units([1], workers.Square, **arguments)
