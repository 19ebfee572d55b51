"""Whatever system call fails: a sentence, no wrong entry, no lock left, and the next run ends as an undisturbed one.

Some of the calls of each command, drawn by a seed; with FAULTS=all (`make faults`) every one of a store's, and 60 of
each training's; `--capture no` shows of how many.
"""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.training.run_folder import load_checkpoint
from propagate.shards.manifest import load_manifest
from propagate.shards.verify import verify_store

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
IS_WHOLE = os.environ.get("FAULTS") == "all"
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
Fault = tuple[str, int, int]  # the kind of call, which of them, and the error
NONE: Fault = ("write", 0, 0)


@dataclass(frozen=True)
class Ended:
    """How a command ended; counts: its system calls below its OUT, by kind."""

    code: int
    said: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Command:
    """A command that writes to a folder, and what it must have come to there, whatever happened on the way."""

    program: str
    args: tuple[str, ...]
    require_sound: Callable[[Path], None]
    require_equal: Callable[[Path, Path], None]


class Machine:
    """Runs commands in forks of a process in which system calls can fail."""

    def __init__(self, folder: Path) -> None:
        shim = folder / "shim.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", shim, HERE / "shim.c", "-ldl"], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"}
        environment |= {"PYTHONPATH": str(HERE.parents[1]), "XDG_CACHE_HOME": str(folder / "cache")}
        self._process = subprocess.Popen(
            [sys.executable, HERE / "warm.py"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, command: Command, out: Path, fault: Fault = NONE) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        kind, number, error = fault
        task = {"program": command.program, "args": [*command.args, "--out", str(out)], "folder": str(out)}
        print(json.dumps(task | {"kind": kind, "number": number, "error": error}), file=self._process.stdin, flush=True)
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if shutil.which("cc") is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler (cc) on Linux, which builds what makes system calls fail")
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of three frames to train on, one to validate on, in the layout of Cityscapes; 64x128."""
    root = tmp_path_factory.mktemp("root")
    draw = np.random.default_rng(0)
    for split, snippets in (("train", (0, 1)), ("val", (2,))):
        frames, labels = root / "leftImg8bit_sequence" / split / "a", root / "gtFine" / split / "a"
        frames.mkdir(parents=True)
        labels.mkdir(parents=True)
        for snippet in snippets:
            texture = np.kron(draw.integers(0, 256, (8, 20, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
            for number in range(18, 21):
                start = 2 * (number - 18)
                name = f"a_{snippet:06d}_{number:06d}"
                Image.fromarray(texture[:, start : start + 128]).save(frames / f"{name}_leftImg8bit.png")
            ids = np.kron(draw.choice([7, 8, 11, 26], (4, 8)), np.ones((16, 16))).astype(np.uint8)
            Image.fromarray(ids).save(labels / f"a_{snippet:06d}_000019_gtFine_labelIds.png")
    return root


def require_sound_store(out: Path) -> None:
    """Whatever the manifest names is there and whole."""
    if (out / "manifest.json").exists():
        assert verify_store(out).faults == ()


def require_equal_stores(one: Path, other: Path) -> None:
    assert load_manifest(one).content == load_manifest(other).content
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())


def require_sound_run(out: Path) -> None:
    """The checkpoint, if there is one, is whole."""
    if (out / "checkpoint.pt").exists():
        load_checkpoint(out)


def require_equal_runs(one: Path, other: Path) -> None:
    """Bit for bit the same state and networks, and nothing half-written beside them."""
    assert _plain(load_checkpoint(one)) == _plain(load_checkpoint(other))
    for path in one.glob("*.safetensors"):
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    assert not list(one.glob(".*.partial"))


def _plain(value: Any) -> Any:
    """With bytes for tensors: what can be compared."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.fixture(params=["propagate run", "sdcnet fit", "segtrain fit"])
def command(request: pytest.FixtureRequest, root: Path) -> Command:
    program, verb = request.param.split()
    options, checks = {
        "propagate": (
            f"--root {root} --frames 1 --motion none --engine local --clips-per-shard 1",
            (require_sound_store, require_equal_stores),
        ),
        "sdcnet": (
            f"{root}/leftImg8bit_sequence/train --val {root}/leftImg8bit_sequence/val --width 0.05 --crop 32x48 "
            "--batch-size 2 --loader-workers 0 --device cpu --steps 3 --save-every 1 --validate-every 2",
            (require_sound_run, require_equal_runs),
        ),
        "segtrain": (
            f"--root {root} --network mobilenetv2 --output-stride 16 --class-uniform-tile 64 --crop 32x32 "
            "--batch-size 2 --epochs 2 --epoch-length 4 --loader-workers 0 --device cpu --save-every 1",
            (require_sound_run, require_equal_runs),
        ),
    }[program]
    return Command(program, (verb, *options.split()), *checks)


def draw_faults(counts: dict[str, int], num_drawn: int | None, seed: int) -> list[Fault]:
    """Calls to fail: all of them, or so many, of which each kind has its share, however few of it there are."""
    draw = random.Random(seed)
    by_kind = {kind: list(range(1, count + 1)) for kind, count in counts.items() if count}
    everything = [(kind, number) for kind, numbers in by_kind.items() for number in numbers]
    if num_drawn is not None and num_drawn < len(everything):
        kinds = (list(by_kind) * num_drawn)[: max(num_drawn, len(by_kind))]
        chosen = {(kind, draw.choice(by_kind[kind])) for kind in draw.sample(kinds, num_drawn)}
        rest = [each for each in everything if each not in chosen]
        everything = sorted(chosen) + draw.sample(rest, num_drawn - len(chosen))
    return [(kind, number, ERRORS[(number + seed) % len(ERRORS)]) for kind, number in everything]


@pytest.mark.timeout(1800 if IS_WHOLE else 300)
def test_a_system_call_that_fails_costs_nothing_but_time(machine: Machine, command: Command, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    undisturbed = machine.run(command, whole)
    assert undisturbed.code == 0, undisturbed.said
    num_drawn = (None if command.program == "propagate" else 60) if IS_WHOLE else 5
    faults = draw_faults(undisturbed.counts, num_drawn, seed=1)
    wrong = {fault: reason for fault in faults if (reason := _tried(machine, command, whole, tmp_path / "out", fault))}
    print(f"{command.program}: {len(faults)} of {sum(undisturbed.counts.values())} system calls failed in turn")
    listed = "\n".join(
        f"{kind} {number} ({errno.errorcode[error]}): {why}" for (kind, number, error), why in wrong.items()
    )
    assert not wrong, f"{len(wrong)} of {len(faults)} faults of {command.program}:\n{listed}"


def _tried(machine: Machine, command: Command, whole: Path, out: Path, fault: Fault) -> str:
    """What is wrong after a fault, and after the run that goes on; empty where nothing is."""
    shutil.rmtree(out, ignore_errors=True)
    disturbed = machine.run(command, out, fault)
    said = disturbed.said.strip()
    if disturbed.code not in (0, 1) or "Traceback" in said or "Error ignored" in said:
        return f"exit code {disturbed.code}: {said[-1500:]}"
    if disturbed.code == 1 and not any(line.startswith("Error: ") for line in said.splitlines()):
        return f"no sentence: {said[-1500:]}"
    try:
        command.require_sound(out)
        if disturbed.code == 1:
            resumed = machine.run(command, out)
            assert resumed.code == 0, f"resumed: exit code {resumed.code}: {resumed.said[-1500:]}"
        command.require_equal(out, whole)
    except Exception as error:
        return f"after '{said[-300:]}': {type(error).__name__}: {error}"
    return ""
