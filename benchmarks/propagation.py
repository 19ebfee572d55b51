"""The main job on full-size frames: seconds per stage, one worker against two, memory, and the store's own commands.

python benchmarks/propagation.py [--size 1024x2048] [--snippets 4] [--keep DIR]
python benchmarks/propagation.py --against CHECKOUT [--size 1024x2048] [--snippets 1] [--rounds 3]

With --against it measures this version and another one in turn, in seconds of a processor, on one worker without Ray.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from propagate.data.classes import load_classes
from propagate.data.sample import ANNOTATED, PROPAGATED, Sample
from propagate.shards.manifest import Manifest, PlannedClip, ShardEntry, ShardPlan, save_manifest
from propagate.shards.writer import ShardWriter

PROPAGATE = [sys.executable, "-m", "propagate"]


def propagate(*args: object) -> str:
    """Run one command of the tool in a process of its own; its stdout."""
    process = subprocess.run([*PROPAGATE, *map(str, args)], stdout=subprocess.PIPE, text=True, check=True)
    return process.stdout


def timed(*args: object) -> float:
    """Seconds that one command takes as a process, start and imports included."""
    begin = time.perf_counter()
    propagate(*args)
    return time.perf_counter() - begin


class WorkerMemory:
    """Watches the largest resident size of any Ray worker among this process's descendants, in bytes."""

    def __enter__(self) -> "WorkerMemory":
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.name().startswith("ray::"):
                        self.peak = max(self.peak, process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


def run(root: Path, out: Path, *args: object) -> dict[str, Any]:
    return json.loads(propagate("run", "--root", root, "--out", out, "--clips-per-shard", 1, "--json", *args))


def print_stages(result: dict[str, Any]) -> None:
    total = sum(result["stages"].values())
    print(f"\none worker: {result['written']} samples, {result['seconds']:.1f} s of work, end to end")
    for stage, seconds in result["stages"].items():
        print(f"  {stage:<12} {seconds:7.2f} s   {seconds / result['written']:6.3f} s/sample   {seconds / total:6.1%}")
    print(f"  {'sum':<12} {total:7.2f} s   end to end / sum = {result['seconds'] / total:.3f}")


def write_small_store(out: Path, num_samples: int) -> None:
    """A store of so many small samples in shards of 176, as ±5 around 16 annotated frames gives."""
    out.mkdir()
    size, per_shard = (64, 128), 176
    random = np.random.default_rng(0)
    label = random.integers(0, 12, size, np.uint8)
    keys = [f"city_{number:06d}_000019" for number in range(-(-num_samples // 11))]
    plan = tuple(
        ShardPlan(
            index=index,
            size=size,
            clips=tuple(PlannedClip(key=key, inputs="", before=5, after=5) for key in keys[start : start + 16]),
        )
        for index, start in enumerate(range(0, len(keys), 16))
    )
    manifest = Manifest(
        dataset="camvid",
        split="train",
        settings={"frames": 5},
        versions={},
        classes=load_classes("camvid"),
        plan=plan,
    )
    for each in plan:
        with ShardWriter(out / each.name, size, "encoded", manifest.place(each.index)) as writer:
            for number in range(each.index * per_shard, min((each.index + 1) * per_shard, num_samples)):
                offset = number % 11 - 5
                writer.add(
                    Sample(
                        key=f"city_{number:06d}_000019",
                        source_key=keys[number // 11],
                        group="city",
                        offset=offset,
                        pairing="label",
                        origin=PROPAGATED if offset else ANNOTATED,
                        image=random.bytes(20_000),
                        label=label,
                        confidence=label,
                        reason=np.zeros_like(label),
                    )
                )
            manifest.shards[each.index] = ShardEntry(name=each.name, failures=(), **vars(writer.finish()))
    save_manifest(out, manifest)


def compare(root: Path, folder: Path, against: Path, rounds: int) -> None:
    """This version and another checkout in turn: seconds of a processor a propagated sample.

    Without what a run of annotated frames alone takes, which starts, reads and writes too.
    """
    checkouts = {"before": against.resolve(), "now": Path(__file__).resolve().parents[1]}
    taken: dict[str, list[float]] = {name: [] for name in checkouts}
    for number in range(rounds):
        for name, checkout in checkouts.items():
            out = folder / f"{name}-{number}"
            common = ("run", "--root", root, "--engine", "local", "--json", "--out")
            idle, alone = processor_seconds(checkout, *common, out / "idle", "--motion", "none", "--frames", 0)
            busy, whole = processor_seconds(checkout, *common, out / "busy")
            propagated = json.loads(whole)["written"] - json.loads(alone)["written"]
            taken[name].append((busy - idle) / propagated)
            print(f"round {number}: {taken[name][-1]:.3f} s of a processor a sample {name}", file=sys.stderr)
    best = {name: min(seconds) for name, seconds in taken.items()}
    print("| | s of a processor a sample (best) | median |\n|---|---:|---:|")
    for name, seconds in taken.items():
        print(f"| {name} | {best[name]:.3f} | {median(seconds):.3f} |")
    print(f"\n{best['before'] / best['now']:.2f} x the samples a second of a core")


def processor_seconds(checkout: Path, *args: object) -> tuple[float, str]:
    """What one command of a checkout takes of processors, and its stdout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [*PROPAGATE, *map(str, args)]
    process = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, process.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="1024x2048")
    parser.add_argument("--snippets", type=int, default=4)
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    parser.add_argument("--against", type=Path, help="another checkout of the project")
    parser.add_argument("--rounds", type=int, default=3, help="of --against")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        root = folder / "street"
        if not root.exists():
            propagate("synth", root, "--snippets", arguments.snippets, "--size", arguments.size, "--length", 25)
        if arguments.against:
            compare(root, folder, arguments.against, arguments.rounds)
            return

        with WorkerMemory() as memory:
            one = run(root, folder / "one", "--workers", 1)
        print_stages(one)
        writing = one["stages"].get("encode", 0) + one["stages"]["write"]
        print(f"  encode + write: {writing / sum(one['stages'].values()):.1%} of the sum")
        print(f"  largest resident size of the worker: {memory.peak / 2**20:.0f} MiB")

        two = run(root, folder / "two", "--workers", 2)
        print(f"\ntwo workers: {two['seconds']:.1f} s, {one['seconds'] / two['seconds']:.2f}x one worker")
        contents = [json.loads(propagate("info", folder / name, "--json"))["content"] for name in ("one", "two")]
        print(f"  same content: {contents[0] == contents[1]}")

        write_small_store(folder / "tiny", 1)
        size = json.loads(propagate("info", folder / "one", "--json"))["bytes"]
        seconds = timed("verify", folder / "one") - timed("verify", folder / "tiny")
        print(f"\nverify: {size / 1e6:.0f} MB in {seconds:.2f} s without start-up, {size / 1e6 / seconds:.0f} MB/s")
        write_small_store(folder / "small", 1000)
        print(f"info on 1,000 samples: {timed('info', folder / 'small'):.2f} s, start-up included")


if __name__ == "__main__":
    main()
