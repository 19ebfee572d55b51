"""`propagate info --samples`: a line per sample, for scripts."""

import json
import subprocess
from collections.abc import Callable

import pytest

from propagate.data.sample import Sample
from propagate.shards.reader import Store

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def store(make_store: Callable[..., Store], make_sample: Callable[..., Sample]) -> Store:
    return make_store([make_sample(number + 5, offset=number) for number in (3, -1, 0, 2)])


def test_a_line_per_sample_in_the_order_asked_for(store: Store, cli: Cli) -> None:
    records = {record.offset: record for record in store.records()}
    lines = [line.split("\t") for line in cli("info", store.path, "--samples").stdout.splitlines()]
    assert [int(line[1]) for line in lines] == [3, -1, 0, 2]
    worst, *_ = [
        line.split("\t") for line in cli("info", store.path, "--samples", "--sort", "score").stdout.splitlines()
    ]
    expected = min(records.values(), key=lambda record: record.score)
    made = [expected.pairing, expected.origin, expected.key, expected.source_key, expected.digest]
    assert worst == [str(expected.score), str(expected.offset), *made]
    lines = [line.split("\t") for line in cli("info", store.path, "--samples", "--sort", "offset").stdout.splitlines()]
    assert [int(line[1]) for line in lines] == [-1, 0, 2, 3]


def test_as_json_there_is_one_object(store: Store, cli: Cli) -> None:
    samples = json.loads(cli("info", store.path, "--samples", "--sort", "key", "--json").stdout)["samples"]
    assert [sample["key"] for sample in samples] == sorted(record.key for record in store.records())
    assert samples[0]["second_offset"] == 0


def test_an_order_of_nothing_makes_no_sense(store: Store, cli: Cli) -> None:
    done = cli("info", store.path, "--sort", "score")
    assert done.returncode == 2
    assert "--sort orders samples; give --samples too" in done.stderr
