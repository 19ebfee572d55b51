"""A run that is told to stop: what is finished is kept, what is half done is removed, and one line is said."""

import signal
import time
from pathlib import Path

import pytest
from helpers.drivers import PATIENCE
from helpers.forks import Fork

from propagate.shards.manifest import load_manifest


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_stop_keeps_what_is_finished(signum: int, street: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["run", "--root", str(street), "--out", str(out), "--frames", "4", "--clips-per-shard", "1"]
    process = Fork([*arguments, "--engine", "local"], tmp_path)
    deadline = time.monotonic() + PATIENCE
    while not (out / "shard-00000.h5").exists() or not list(out.glob(".shard-00001*.part")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signum)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.poll(), stdout, stderr) == (128 + signum, "", "Interrupted; what is finished is kept.\n")
    assert sorted(path.name for path in out.iterdir()) == [".lock", "failures.jsonl", "manifest.json", "shard-00000.h5"]
    assert load_manifest(out).num_samples == 9
