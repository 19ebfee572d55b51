"""How far a run has come, from what lies in its store."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.stores import write_store

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.job.status import status_of
from propagate.shards.manifest import load_manifest, save_manifest

START = 1_000_000.0
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def working(tmp_path: Path, make_sample: Callable[..., Sample]) -> Callable[..., Path]:
    """A store of as many planned shards, of a clip with 4 neighbours each, of which those with a time are finished."""

    def make(planned: int, *times: float, attempts: int = 1, at_work: bool = True) -> Path:
        shards = [
            [make_sample(offset, source_key=f"seq_{number}", size=(8, 8)) for offset in range(5)]
            for number in range(planned)
        ]
        store = write_store(tmp_path / "store", shards, load_classes("camvid"))
        manifest = load_manifest(store)
        manifest.plan = tuple(
            replace(plan, clips=tuple(replace(clip, before=2, after=2) for clip in plan.clips))
            for plan in manifest.plan
        )
        for number in range(planned):
            path = store / f"shard-{number:05d}.h5"
            if number < len(times):
                os.utime(path, (START + times[number],) * 2)
            else:
                path.unlink()
                del manifest.shards[number]
        save_manifest(store, manifest)
        for number in range(attempts if at_work else 0):
            (store / f".shard-{planned - 1 - number:05d}.h5.a{number}.part").touch()
            os.utime(store / f".shard-{planned - 1 - number:05d}.h5.a{number}.part", (START + 50,) * 2)
        if at_work:
            (store / ".sign-0123456789ab").touch()
            os.utime(store / ".sign-0123456789ab", (START,) * 2)
        return store

    return make


def test_the_start_of_a_run_is_no_part_of_its_rate(working: Callable[..., Path]) -> None:
    found = status_of(working(8, 30, 35, 40), now=START + 42)
    assert (found.shards, found.planned_shards, found.samples, found.planned_samples) == (3, 8, 15, 40)
    assert (found.at_work, found.begun, found.last_written) == (True, 1, 0)
    assert found.samples_per_second == 1  # 5 samples in 5 s, the 30 s before them left out
    assert found.seconds_left == 25 - 2


def test_the_first_shard_of_each_worker_counts_as_start(working: Callable[..., Path]) -> None:
    found = status_of(working(16, 30, 30, 30, 30, 40, 40, 40, 40, attempts=4), now=START + 40)
    assert found.samples_per_second == 2
    assert found.seconds_left == 20


def test_shards_of_an_earlier_run_do_not_count(working: Callable[..., Path]) -> None:
    found = status_of(working(10, -9000, -8990, 20, 30, 40), now=START + 40)
    assert found.samples_per_second == 0.5
    assert found.seconds_left == 50


@pytest.mark.parametrize("times", [(), (30.0,), (-900.0, -800.0, 30.0), (30.0, 30.0)])
def test_before_there_is_a_rate_nothing_is_said_of_it(working: Callable[..., Path], times: tuple[float, ...]) -> None:
    found = status_of(working(6, *times), now=START + 60)
    assert found.samples_per_second is found.seconds_left is None
    assert found.last_written == 10


def test_a_store_without_a_run(working: Callable[..., Path], cli: Cli) -> None:
    store = working(3, 1, 2, at_work=False)
    assert cli("status", store).stdout == (
        f"{store}: 2 of 3 shards, 10 of 15 samples, 0 failures\nno run is at work; `propagate run` goes on\n"
    )


def test_the_command_says_it_in_words_and_as_json(working: Callable[..., Path], cli: Cli) -> None:
    store = working(8, 30, 35, 40)
    lines = cli("status", store).stdout.splitlines()
    assert lines[0] == f"{store}: 3 of 8 shards, 15 of 40 samples, 0 failures"
    assert lines[1].startswith("a run is at work, shards begun: 1, last written ")
    assert lines[1].endswith(" ago; 1.00 samples/s, 0:00:00 left")
    values = json.loads(cli("status", store, "--json").stdout)
    assert (values["shards"], values["samples_per_second"], values["at_work"]) == (3, 1.0, True)


def test_where_there_is_no_store_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no shard store here"):
        status_of(tmp_path)
