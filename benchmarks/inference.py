"""Peak memory of segmenting by windows, for images of several sizes, against what a map of all probabilities takes.

python benchmarks/inference.py [--sizes 1000x1500,4000x6000] [--window 512x512] [--classes 65] [--network NAME]

Each size runs in a process of its own. Without --network, one convolution of a pixel at a time stands for it, so that
what is measured is the windows and their merge.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn

from jobs.training.runtime import open_runtime
from segtrain.inference import Inference, make_grid, segment
from segtrain.models.registry import NETWORKS, build_network

MIB = 2**20


def size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


def resident_peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(image_size: tuple[int, int], inference: Inference, num_classes: int, network: str | None) -> None:
    """Print a row: the growth of this process's peak while it segments an image."""
    runtime = open_runtime()
    torch.manual_seed(0)
    chosen = nn.Conv2d(3, num_classes, 1) if network is None else build_network(network, num_classes=num_classes)
    prepared = runtime.prepare(chosen)
    image = np.random.default_rng(0).integers(0, 256, (*image_size, 3), np.uint8)
    before, begin = resident_peak(), time.perf_counter()
    segment(prepared, image, inference, runtime)
    seconds, grown = time.perf_counter() - begin, resident_peak() - before
    grid = make_grid(image_size, inference)
    height, width = image_size
    on_device = f"{torch.cuda.max_memory_allocated() / MIB:10.0f}" if runtime.device.type == "cuda" else "         -"
    print(
        f"{f'{height}x{width}':>11}{len(grid.tops) * len(grid.lefts):9}{grown / MIB:15.0f}{on_device}"
        f"{4 * num_classes * height * width / MIB:15.0f}{seconds:10.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="1000x1500,4000x6000")
    parser.add_argument("--window", default="512x512")
    parser.add_argument("--classes", type=int, default=65)
    parser.add_argument("--network", choices=list(NETWORKS))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        inference = Inference(window=size(arguments.window))
        measure(size(arguments.sizes), inference, arguments.classes, arguments.network)
        return
    print(f"{arguments.classes} classes, windows of {arguments.window}; MiB of main memory beyond image and network")
    print(f"{'image':>11}{'windows':>9}{'peak growth':>15}{'device':>10}{'whole map':>15}{'seconds':>10}")
    for image_size in arguments.sizes.split(","):
        subprocess.run([sys.executable, *sys.argv, "--one", "--sizes", image_size], check=True)


if __name__ == "__main__":
    main()
