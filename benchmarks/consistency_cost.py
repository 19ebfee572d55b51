"""What terms of consistency cost a training step: time and memory, against cross entropy alone.

python benchmarks/consistency_cost.py WORK --teacher FILE [--steps 40]

Streets of 192x384, a ResNet-18 student, crops of 96x192 in batches of 4, one thread; the teacher is that file's. The
time is that of the steps after the first 20, as the training's log says it, the memory the most that its process ever
held.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from propagate.synth.write import write_dataset

FIRST = 20  # steps that are not counted
SEQUENCES = ("--distill-sequence", "1", "--sequence-pool", "2")
TERMS: dict[str, tuple[str, ...]] = {
    "cross entropy": (),
    "--temporal, motion in each step": ("--temporal", "1"),
    "--temporal, of a flow cache": ("--temporal", "1", "--flow-cache"),
    "--temporal --detach": ("--temporal", "1", "--detach"),
    "--distill-frame": ("--distill-frame", "1"),
    "--distill-pairs": ("--distill-pairs", "1"),
    "--distill-similarity": ("--distill-similarity", "1"),
    "--distill-sequence, 3 frames": (*SEQUENCES, "--clip-frames", "3"),
    "… its encoder trained": (*SEQUENCES, "--clip-frames", "3", "--sequence-encoder", "trained"),
    "temporal, frame, pairs, sequence, 3 frames": (
        *("--temporal", "1", "--distill-frame", "1", "--distill-pairs", "1", "--clip-frames", "3"),
        *SEQUENCES,
    ),
}


def cost(work: Path, name: str, teacher: Path, steps: int) -> tuple[float, float]:
    """Seconds a step, and MiB."""
    options = [str(work / "flows") if option is None else option for option in _options(name)]
    if any(option.startswith("--distill") for option in options):
        options += ["--teacher", str(teacher)]
    out = work / f"run-{list(TERMS).index(name)}"
    command = [
        *(sys.executable, "-m", "segtrain", "fit", "--recipe", "tiny", "--network", "resnet18", "--out", str(out)),
        *("--root", str(work / "data"), "--train-split", "train", "--val-split", "none", "--crop", "96x192"),
        *("--batch-size", "4", "--epochs", "1", "--epoch-length", str(4 * steps), "--loader-workers", "0", *options),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [line["samples_per_second"] for line in lines if line["step"] > FIRST and "samples_per_second" in line]
    return 4 * len(rates) / sum(rates), usage.ru_maxrss / 1024


def _options(name: str) -> list[str | None]:
    options: list[str | None] = [*TERMS[name]]
    return [*options, None] if "--flow-cache" in options else options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    if not (work / "data").exists():
        write_dataset(work / "data", num_snippets=4, size=(192, 384), length=25, around=3, seed=1)
    print("| | s a step | times | MiB |\n|---|--:|--:|--:|")
    plain = 0.0
    for name in TERMS:
        seconds, memory = cost(work, name, arguments.teacher.resolve(), arguments.steps)
        plain = plain or seconds
        print(f"| {name} | {seconds:.2f} | {seconds / plain:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
