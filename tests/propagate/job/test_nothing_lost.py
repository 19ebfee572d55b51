"""Kills, full disks and damage, through the command line: the store ends up right, or says what is wrong."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from helpers.drivers import PATIENCE
from helpers.forks import Fork

from propagate.cli.main import main
from propagate.shards.manifest import load_manifest

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
MAIN = [sys.executable, "-m", "propagate"]
OPTIONS = ["--frames", "4", "--clips-per-shard", "1", "--json"]


def arguments(street: Path, out: Path, *args: str) -> list[str]:
    return ["run", "--root", str(street), "--out", str(out), *OPTIONS, *args]


def command(street: Path, out: Path, *args: str) -> list[str]:
    return [*MAIN, *arguments(street, out, *args)]


def contents(out: Path) -> dict[int, str]:
    return {index: entry.content for index, entry in load_manifest(out).shards.items()}


@pytest.fixture(scope="module")
def whole(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was written without interruption. Not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert CliRunner().invoke(main, arguments(street, out, "--engine", "local")).exit_code == 0
    return out


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def test_the_driver_killed_at_random_moments(street: Path, whole: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    moments = random.Random(7)
    killed_while_writing = 0
    for _ in range(3):
        process = Fork(arguments(street, out, "--engine", "local"), tmp_path)
        shard_begun(out, process)
        time.sleep(moments.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_while_writing += bool(list(out.glob(".shard-*.part")))
    assert killed_while_writing
    assert cli("verify", out).returncode == 0
    final = cli(*arguments(street, out, "--engine", "local"))
    assert json.loads(final.stdout)["samples"] == 27
    assert contents(out) == contents(whole)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_the_driver_of_a_ray_run_killed(street: Path, whole: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(command(street, out, "--workers", "2"), stdout=subprocess.DEVNULL)
    shard_begun(out, process)
    process.kill()
    process.wait()
    final = cli(*arguments(street, out, "--engine", "local"))
    assert json.loads(final.stdout)["samples"] == 27
    assert contents(out) == contents(whole)


def test_a_worker_killed(street: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(command(street, out, "--workers", "2"), stdout=subprocess.PIPE, text=True)
    shard_begun(out, process)
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if writes_shard(p, out)]
    assert workers
    workers[0].kill()
    stdout, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert json.loads(stdout)["lost"] == []
    assert contents(out) == contents(whole)


def writes_shard(process: psutil.Process, out: Path) -> bool:
    try:
        return any(file.path.startswith(str(out / ".shard-")) for file in process.open_files())
    except psutil.Error:
        return False


def shard_begun(out: Path, process: subprocess.Popen[Any] | Fork) -> None:
    """Wait until this process writes a shard, or has ended."""
    before = set(out.glob(".shard-*.part"))
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not set(out.glob(".shard-*.part")) - before:
        assert time.monotonic() < deadline, "no shard begun"
        time.sleep(0.01)


def test_two_runs_at_once(street: Path, whole: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    first = Fork(arguments(street, out, "--engine", "local"), tmp_path)
    shard_begun(out, first)
    first.send_signal(signal.SIGSTOP)
    second = cli(*arguments(street, out, "--engine", "local"))
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1
    assert "another run is writing to it" in second.stderr
    assert first.wait() == 0
    assert contents(out) == contents(whole)


def test_a_full_disk(street: Path, whole: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    half = max(path.stat().st_size for path in whole.glob("shard-*")) // 2
    # the limit would hold for Ray's own files too
    process = Fork(arguments(street, out, "--engine", "local"), tmp_path, largest_file=half)
    stdout, stderr = process.communicate()
    assert process.poll() == 1, stderr
    assert "cannot be written (File too large); make room or choose another OUT, then run again" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert not list(out.glob("*.part"))
    assert not list(out.glob(".shard*"))
    final = cli(*arguments(street, out, "--engine", "local"))
    assert json.loads(final.stdout)["samples"] == 27
    assert contents(out) == contents(whole)


def test_a_flipped_bit_anywhere_in_a_shard(damaged: Path, cli: Cli) -> None:
    shard = damaged / "shard-00001.h5"
    position = random.Random(3).randrange(shard.stat().st_size)
    flip(shard, position)
    process = cli("verify", damaged)
    assert process.returncode == 1
    assert f"{shard}: damaged, its SHA-256 is not the manifest's: delete it and run" in process.stderr
    assert "shard-00000" not in process.stderr


def test_a_flipped_bit_in_the_manifest(damaged: Path, cli: Cli, street: Path) -> None:
    manifest = damaged / "manifest.json"
    flip(manifest, manifest.stat().st_size // 2)
    runs = cli(*arguments(street, damaged, "--engine", "local"))
    for process in (cli("verify", damaged), cli("info", damaged), runs):
        assert process.returncode == 1
        assert "manifest.json: damaged" in process.stderr
        assert "--overwrite" in process.stderr


def test_a_truncated_shard_and_a_deleted_one(damaged: Path, whole: Path, cli: Cli, street: Path) -> None:
    truncated, deleted = damaged / "shard-00000.h5", damaged / "shard-00002.h5"
    size = truncated.stat().st_size
    with truncated.open("r+b") as file:
        file.truncate(size - 1)
    deleted.unlink()
    process = cli("verify", damaged, "--json")
    assert process.returncode == 1
    first, second = json.loads(process.stdout)["faults"]
    assert f"{truncated}: has {size - 1} bytes, the manifest says {size}: delete it and run" in first
    assert f"{deleted}: cannot be read (No such file or directory): run `propagate run` again" in second
    assert cli(*arguments(street, damaged, "--engine", "local")).returncode == 0
    assert contents(damaged) == contents(whole)
    assert cli("verify", damaged).returncode == 0


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)
