"""What a network's device leaves to the host: seconds of the processor by stage, seconds of the device, copies.

python benchmarks/device.py [--size 1024x2048] [--device auto] [--rounds 3]

Per annotated frame with ±5 neighbours. The network is a stub whose flows cost nothing, so that what is measured is all
that there is beside one: decoding, the way there and back, refinement, labels, confidence, encoding, writing. On a GPU
its own seconds are those between two synchronisations, and the cores that it takes to keep it busy follow; where the
device is the CPU, its stages show what a GPU would be given.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from jobs.timing import Stopwatch
from jobs.training.runtime import open_runtime
from jobs.training.transfers import Transfers
from propagate.carry.opened import open_clip
from propagate.carry.paths import DevicePath
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.shards.schema import ShardPlace
from propagate.shards.writer import ShardWriter
from propagate.synth.write import write_dataset
from sdcnet.motion.estimator import Observation, Step

FRAMES = 5
ON_THE_HOST = ("decode", "encode", "write")


class Stub:
    """A pan of one pixel to the right, of a network that costs nothing."""

    num_history = 1
    refinable = True
    full_size = True
    fingerprint: Mapping[str, object] = {}

    def __init__(self, transfers: Transfers) -> None:
        self.transfers = transfers

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            flow = torch.zeros_like(observations[step.target].pixels[:, :2], dtype=torch.float32)
            flow[:, 0] = step.source - step.target
            yield flow


class ProcessorTime(Stopwatch):
    """Counts seconds of this thread's processor, and by the clock, after what the device was given is done."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.clock: dict[str, float] = defaultdict(float)
        self._device = device

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._wait()
        begin, begin_clock = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            taken = time.thread_time() - begin
            self._wait()
            self.seconds[stage] += taken
            self.clock[stage] += time.perf_counter() - begin_clock

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def carry(root: Path, out: Path, device: torch.device) -> tuple[ProcessorTime, Transfers]:
    """One annotated frame and its neighbours, from files to a shard."""
    dataset = open_dataset("cityscapes", DatasetOptions(root=root, split="train"))
    (clip,) = dataset.clips(FRAMES)
    watch, transfers = ProcessorTime(device), Transfers(device)
    opened = open_clip(clip, dataset.classes, watch)
    samples = propagate_clip(
        opened,
        ignore_id=dataset.classes.ignore_id,
        estimator=Stub(transfers),
        path=DevicePath(transfers),
        sample_settings=SampleSettings(),
        watch=watch,
        on_failure=print,
    )
    place = ShardPlace(store_id="", shard_index=0, num_shards=1, classes="")
    with ShardWriter(out, opened.pictures[0].size, "encoded", place) as writer:
        for sample in samples:
            with watch("write"):
                writer.add(sample)
        with watch("write"):
            writer.finish()
    return watch, transfers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="1024x2048")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    device = open_runtime(arguments.device).device
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "street", num_snippets=1, size=(height, width), length=25, seed=0)
        rounds = [carry(Path(folder) / "street", Path(folder) / f"{n}.h5", device) for n in range(arguments.rounds + 1)]
    watch, transfers = min(rounds[1:], key=lambda found: sum(found[0].seconds.values()))  # the first warms up
    print(f"{arguments.size}, ±{FRAMES}, {device}, the best of {arguments.rounds} rounds, per annotated frame\n")
    print("| stage | where | s of the processor | s by the clock |\n|---|---|---:|---:|")
    for stage, seconds in watch.seconds.items():
        where = "host" if stage in ON_THE_HOST else "device"
        print(f"| {stage} | {where} | {seconds:.2f} | {watch.clock[stage]:.2f} |")
    host = sum(watch.seconds[stage] for stage in ON_THE_HOST)
    on_device = sum(seconds for stage, seconds in watch.clock.items() if stage not in ON_THE_HOST)
    print(f"\nhost {host:.2f} s of a core, device {on_device:.2f} s without the network")
    if device.type == "cuda":
        launching = sum(seconds for stage, seconds in watch.seconds.items() if stage not in ON_THE_HOST)
        print(f"{(host + launching) / on_device:.1f} cores would keep the device busy with this alone")
    print(f"up: {transfers.up} copies of {transfers.bytes_up / 1e6:.1f} MB in all")
    print(f"down: {transfers.down} copies of {transfers.bytes_down / 1e6:.1f} MB in all")
    print(f"labels and confidence: of {DevicePath(transfers).at_a_time((height, width))} frames at a time")


if __name__ == "__main__":
    main()
