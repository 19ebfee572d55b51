"""FlowNet2 and its correlation against the same with a plain loop over displacements: seconds and peak memory.

python benchmarks/flownet2.py [--size 256x512] [--rounds 7]

On a GPU, if there is one, also at 1024x2048: the published arithmetic against ours, in TFLOP/s and of its peak.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jobs.training.runtime import open_runtime
from sdcnet.networks.flownet2 import FlowNet2
from sdcnet.networks.ops import correlation

MIB = 2**20
FEATURE_CHANNELS, FEATURE_STRIDE = 256, 8  # of what FlowNetC correlates
FULL_SIZE = (1024, 2048)
TFLOP_AT_FULL_SIZE = 2.115 + 0.0074  # layers and correlation, two operations per multiply-add
LOOP, OURS, CHANNELS_LAST = "loop over displacements", "ours", "ours, channels last"
FORWARD = {LOOP, OURS, CHANNELS_LAST}
LOOP_ALONE, OURS_ALONE = "correlation alone: loop", "correlation alone: ours"


def looped_correlation(first: Tensor, second: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,441,H,W]: pad once; per displacement of up to 20 by steps of 2, slice, multiply, mean."""
    height, width = first.shape[-2:]
    padded = F.pad(second, [20] * 4)
    starts = range(0, 41, 2)
    means = [(first * padded[:, :, y : y + height, x : x + width]).mean(dim=1) for y in starts for x in starts]
    return torch.stack(means, dim=1)


def with_loop() -> AbstractContextManager[object]:
    """While this is open, FlowNet2 correlates by the loop."""
    return patch("sdcnet.networks.flownet2.correlation", looped_correlation)


def random_network() -> FlowNet2:
    torch.manual_seed(0)
    return FlowNet2().requires_grad_(False).eval()


def workload(variant: str, size: tuple[int, int]) -> Callable[[], Tensor]:
    """What one variant computes each time; its inputs and weights are made here, once."""
    generator = torch.Generator().manual_seed(0)
    if variant in FORWARD:
        frames = 255 * torch.rand(2, 1, 3, *size, generator=generator)
        layout = torch.channels_last if variant == CHANNELS_LAST else torch.contiguous_format
        network = random_network().to(memory_format=layout)  # type: ignore[call-overload]
        return lambda: network(*frames)
    shape = (2, 1, FEATURE_CHANNELS, *(side // FEATURE_STRIDE for side in size))
    first, second = torch.randn(shape, generator=generator)
    operation = looped_correlation if variant == LOOP_ALONE else correlation
    return lambda: operation(first, second)


def context(variant: str) -> AbstractContextManager[object]:
    return with_loop() if variant == LOOP else nullcontext()


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def alternated_seconds(variants: list[str], size: tuple[int, int], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant, round by round, so that what else the machine does hits all of them alike."""
    works = {variant: workload(variant, size) for variant in variants}
    taken: dict[str, list[float]] = {variant: [] for variant in variants}
    for number in range(rounds + 1):
        for variant, work in works.items():
            with context(variant):
                elapsed = seconds(work)
            if number:  # the first round warms up
                taken[variant].append(elapsed)
    return taken


def resident(field: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most so far (VmHWM); getrusage counts its parent, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def print_memory(variant: str, size: tuple[int, int]) -> None:
    """The peak of this process during two runs, and what of it the runs took, in bytes."""
    work = workload(variant, size)
    before = resident("VmRSS")
    with context(variant):
        work()
        work()
    print(resident("VmHWM"), resident("VmHWM") - before)


def memory_in_own_process(variant: str, size: str) -> tuple[float, float]:
    """The medians of what `print_memory` says in three processes: what libraries keep differs from one to the next."""
    command = [sys.executable, __file__, "--size", size, "--memory-of", variant]
    outputs = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout for _ in range(3)]
    peaks, growths = zip(*(map(int, output.split()) for output in outputs), strict=True)
    return statistics.median(peaks), statistics.median(growths)


def compare(variants: list[str], size: str, rounds: int) -> None:
    """Print one table whose first row is what the others are compared with."""
    height, width = map(int, size.split("x"))
    memory = {variant: memory_in_own_process(variant, size) for variant in variants}
    taken = alternated_seconds(variants, (height, width), rounds)
    base = taken[variants[0]]
    print(f"\n| {size}, float32, {torch.get_num_threads()} threads | min s | median s | ratio (min) | ratio (median) "
          "| peak MiB | of which the run |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for variant, times in taken.items():
        low, middle = min(times), statistics.median(times)
        ratios = f"{low / min(base):.2f} | {middle / statistics.median(base):.2f}"
        peak, growth = (f"{value / MIB:.0f}" for value in memory[variant])
        print(f"| {variant} | {low:.4f} | {middle:.4f} | {ratios} | {peak} | {growth} |")


def gpu_seconds(work: Callable[[], object], rounds: int) -> float:
    """The median, each run waited for; the first three warm up and compile."""
    taken = []
    for _ in range(3 + rounds):
        torch.cuda.synchronize()
        taken.append(seconds(lambda: _done(work)))
    return statistics.median(taken[3:])


def _done(work: Callable[[], object]) -> None:
    work()
    torch.cuda.synchronize()


def matrix_product_ceiling(dtype: torch.dtype, rounds: int) -> float:
    """TFLOP/s of one large matrix product."""
    side = 8192
    left, right = torch.randn(2, side, side, device="cuda", dtype=dtype)
    return 2 * side**3 / 1e12 / gpu_seconds(lambda: left @ right, rounds)


def compare_on_gpu(rounds: int) -> None:
    """The loop in float32 against ours in bfloat16, channels last, compiled; a pair of full-size frames."""
    frames = 255 * torch.rand(2, 1, 3, *FULL_SIZE, device="cuda")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # the ceiling of what convolutions may use
    plain, network = random_network().cuda(), random_network()
    float32, bfloat16 = open_runtime("cuda"), open_runtime("cuda", "bfloat16", compile=True)
    compiled = bfloat16.compiled(bfloat16.prepare(network))
    rows: list[tuple[str, AbstractContextManager[object], torch.dtype, Callable[[], Tensor]]] = [
        ("loop over displacements, float32", with_loop(), torch.float32, lambda: float32.run(plain, *frames)),
        ("ours, bfloat16, compiled", nullcontext(), torch.bfloat16, lambda: bfloat16.run(compiled, *frames)),
    ]
    print(f"\n| {torch.cuda.get_device_name()}, {FULL_SIZE[0]}x{FULL_SIZE[1]} | median s | TFLOP/s | of the ceiling "
          "| peak MiB |\n|---|---|---|---|---|")  # fmt: skip
    for name, correlated_by, dtype, work in rows:
        ceiling = matrix_product_ceiling(dtype, rounds)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        with correlated_by:
            median = gpu_seconds(work, rounds)
        speed, peak = TFLOP_AT_FULL_SIZE / median, torch.cuda.max_memory_allocated() / MIB
        print(f"| {name} | {median:.4f} | {speed:.0f} | {speed / ceiling:.0%} of {ceiling:.0f} | {peak:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="256x512")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # how this program calls itself
    arguments = parser.parse_args()
    with torch.no_grad():
        if arguments.memory_of:
            height, width = map(int, arguments.size.split("x"))
            return print_memory(arguments.memory_of, (height, width))
        compare([LOOP, OURS, CHANNELS_LAST], arguments.size, arguments.rounds)
        compare([LOOP_ALONE, OURS_ALONE], arguments.size, arguments.rounds)
        compare([LOOP_ALONE, OURS_ALONE], f"{FULL_SIZE[0]}x{FULL_SIZE[1]}", arguments.rounds)
        if torch.cuda.is_available():
            compare_on_gpu(arguments.rounds)


if __name__ == "__main__":
    main()
