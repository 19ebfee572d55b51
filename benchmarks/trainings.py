"""What the benchmarks that train many networks share: a stretch of CamVid, commands, and a file of what is finished."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

NUM_SEEN, FIRST_SCORED = 28, 32  # of the 49 frames of CamVid


def camvid_stretch(root: Path, data: Path, annotated: Collection[int]) -> None:
    """The first 28 frames, of which those numbers are annotated, and 17 later ones that are scored.

    Frames 28 to 31 can be looked at by what takes neighbours. data: the folder of camvid_15hz.
    """
    source = data.resolve() / "camvid_15hz"
    for number, frame in enumerate(sorted((source / "clip").iterdir())):
        split = "train" if number < NUM_SEEN else "val"
        kinds = {"frames": source / "clip", "labels": source / "truth"}
        if number not in annotated and number < FIRST_SCORED:
            del kinds["labels"]
        for kind, folder in kinds.items():
            link(root / kind / split / f"{split}_{number:04d}.png", folder / frame.name)
    name = "{split}/{sequence}_{frame}.png"
    write_layout(root, f"frames/{name}", f"labels/{name}", "camvid")


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(target)


def write_layout(root: Path, frames: str, labels: str, classes: str) -> None:
    text = f"frames: {frames}\nlabels: {labels}\nclasses: {classes}\n"
    (root / "layout.yaml").write_text(text, encoding="utf-8")


def call(program: str, *arguments: object) -> str:
    """What a command of ours prints, in a process of one thread. Raises: RuntimeError, with what it says."""
    line = [sys.executable, "-m", program, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    if process.returncode:
        raise RuntimeError(f"{program} {' '.join(map(str, arguments))}\n{process.stderr}")
    return process.stdout


class Results:
    """A file with a JSON line for each finished run, to which threads add."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, Lock()

    def lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._lock:
            return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def add(self, line: dict[str, Any]) -> None:
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def with_error(differences: Sequence[float]) -> str:
    """Mean and standard error."""
    mean = f"{statistics.mean(differences):+.2f}"
    if len(differences) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(differences) / len(differences) ** 0.5:.2f}"
