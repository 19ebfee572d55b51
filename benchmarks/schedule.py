"""Seconds per annotated frame: the published schedule against ours, with the same networks, side by side in one run.

python benchmarks/schedule.py [--size 256x512] [--rounds 3] [--device auto]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from jobs.timing import Stopwatch
from jobs.training.runtime import Runtime, open_runtime
from propagate.carry.opened import open_clip
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.carry.walk import steps_away
from propagate.data.classes import load_classes
from propagate.data.clip import Clip
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.synth.write import write_dataset
from sdcnet.geometry import warp_frames
from sdcnet.motion.estimator import ObservedPixels
from sdcnet.motion.learned import PredictedMotion
from sdcnet.motion.pair_flow import FlowNet2Pairs
from sdcnet.networks.flownet2 import FlowNet2
from sdcnet.networks.predictor import SDCNet2DRecon

FRAMES = 5
OUTPUTS = 3  # label map, frame and colour map, for each of which the published script runs the networks
GFLOP_AT_FULL_SIZE = {"flownet2": 2115 + 7.4, "body": 115}  # 1024x2048, two per multiply-add


class Pairs(FlowNet2Pairs):
    """FlowNet2 with random weights: their values do not matter here."""

    def __init__(self, network: FlowNet2, runtime: Runtime) -> None:
        self._network, self._runtime = runtime.compiled(runtime.prepare(network)), runtime
        self.fingerprint = {}


class Networks:
    """Both networks on one runtime, as our estimator, and one step at a time."""

    def __init__(self, runtime: Runtime) -> None:
        torch.manual_seed(0)
        self.runtime = runtime
        self.pairs = Pairs(FlowNet2(), runtime)
        self.network = SDCNet2DRecon()
        self.estimator = PredictedMotion(self.network, self.pairs, runtime, {})

    def published_step(self, frames: list[Tensor]) -> Tensor:
        """What the published script computes for one output of one step: two flows, the body, and the warp."""
        flows = torch.stack([self.pairs(later, earlier) for earlier, later in pairwise(frames)], 1)
        seen = torch.stack(frames, dim=1).flip(2)
        flow = self.runtime.run(self.network.displacement, seen, flows)
        return warp_frames(seen[:, -2].to(flow), flow).cpu()


def published(clip: Clip, networks: Networks) -> None:
    """60 pairs and 30 bodies for ±5; each output of each step reads its frames again."""
    for direction in (1, -1):
        for step in steps_away(clip.frames, direction, 2, "annotated"):
            for _ in range(OUTPUTS):
                networks.published_step([read(clip, offset) for offset in (*step.history, step.target)])


def ours(clip: Clip, networks: Networks) -> None:
    """12 pairs and 10 bodies; each frame is read once."""
    frames = {offset: ObservedPixels(read(clip, offset)) for offset in clip.frames}
    for direction in (1, -1):
        for flow in networks.estimator.estimate(frames, steps_away(frames, direction, 2)):
            flow.sum()


def whole_job(clip: Clip, networks: Networks) -> None:
    """Ours with all that follows: refinement, confidence, labels, encoding."""
    classes = load_classes("cityscapes")
    for _ in propagate_clip(
        open_clip(clip, classes, Stopwatch()),
        ignore_id=classes.ignore_id,
        estimator=networks.estimator,
        path=path_of(networks.estimator),
        sample_settings=SampleSettings(),
        watch=Stopwatch(),
        on_failure=print,
    ):
        pass


def read(clip: Clip, offset: int) -> Tensor:
    return torch.from_numpy(clip.frames[offset].pixels()).permute(2, 0, 1)[None].contiguous()


def seconds(work: Callable[[Clip, Networks], None], clip: Clip, networks: Networks) -> float:
    if networks.runtime.device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work(clip, networks)
    if networks.runtime.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def ceiling(dtype: torch.dtype) -> float:
    """Measured TFLOP/s of large matrix products on the GPU."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(5):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        rates.append(10 * 2 * 8192**3 / (time.perf_counter() - begin) / 1e12)
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="256x512")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    plain = Networks(open_runtime(arguments.device))
    rivals: dict[str, tuple[Callable[[Clip, Networks], None], Networks]] = {
        "published schedule, float32": (published, plain),
        "ours, float32": (ours, plain),
        "ours with the rest of the job": (whole_job, plain),
    }
    on_gpu = plain.runtime.device.type == "cuda"
    if on_gpu:
        fast = Networks(open_runtime(arguments.device, "bfloat16", compile=True))
        rivals["ours, bfloat16, compiled"] = (ours, fast)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), num_snippets=1, size=(height, width), length=25, seed=0)
        (clip,) = open_dataset("cityscapes", DatasetOptions(root=Path(folder), split="train")).clips(FRAMES)
        times: dict[str, list[float]] = {name: [] for name in rivals}
        memory: dict[str, int] = {}
        for number in range(arguments.rounds + 1):  # the first warms up
            for name, (work, networks) in rivals.items():
                if on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                taken = seconds(work, clip, networks)
                print(f"round {number}: {taken:8.2f} s {name}", file=sys.stderr)
                if number:
                    times[name].append(taken)
                if on_gpu:
                    memory[name] = torch.cuda.max_memory_allocated()
    slowest = min(times["published schedule, float32"])
    print(f"{arguments.size}, {plain.runtime.device}, {torch.get_num_threads()} threads, {arguments.rounds} rounds\n")
    print("| | s per annotated frame (best) | median | times faster | GPU memory |")
    print("|---|---:|---:|---:|---:|")
    for name, rounds in times.items():
        best, median = min(rounds), sorted(rounds)[len(rounds) // 2]
        peak = f"{memory[name] / 2**30:.2f} GiB" if on_gpu else "-"
        print(f"| {name} | {best:.2f} | {median:.2f} | {slowest / best:.2f} | {peak} |")
    if on_gpu:
        share = height * width / (1024 * 2048)
        work_done = share * (12 * GFLOP_AT_FULL_SIZE["flownet2"] + 10 * GFLOP_AT_FULL_SIZE["body"]) / 1000
        for name, dtype in (("ours, float32", torch.float32), ("ours, bfloat16, compiled", torch.bfloat16)):
            rate, limit = work_done / min(times[name]), ceiling(dtype)
            print(f"\n{name}: {rate:.1f} TFLOP/s, {rate / limit:.0%} of {limit:.0f} measured for matrix products")


if __name__ == "__main__":
    main()
