"""`propagate verify` through the command line."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from propagate.data.sample import Sample
from propagate.shards.manifest import save_manifest


def test_an_unfinished_store_is_said_to_be_once(
    cli: Callable[..., subprocess.CompletedProcess[str]],
    make_store: Callable[..., Any],
    make_sample: Callable[..., Sample],
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = make_store([make_sample(0), make_sample(1, size=(40, 50))])
    del store.manifest.shards[1]
    save_manifest(store.path, store.manifest)
    process = cli("verify", store.path)
    assert process.returncode == 0, process.stderr
    assert "no faults in what is finished\n" in process.stdout
    assert "unfinished, 1 of 2 planned shards; `propagate run` goes on with it" in caplog.text
    assert (process.stdout + process.stderr + caplog.text).count("planned shards") == 1
