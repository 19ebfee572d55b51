"""RAFT with and without a volume of all pairs: seconds of the processor and peak memory, each in a process of its own.

python benchmarks/raft.py [--size 512x1024] [--variant large]
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
import torch.nn.functional as F  # noqa: N812

from jobs.training.runtime import open_runtime
from sdcnet.networks import raft_lookup
from sdcnet.networks.raft import RAFT

LIMITS = {"volume": 2**40, "on demand": 0}  # bytes


def measure(lookup: str, height: int, width: int, variant: str) -> None:
    """Print what one pair costs: a blurred random picture that moves by 8 pixels, and weights that are small."""
    raft_lookup.VOLUME_BYTES = LIMITS[lookup]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    runtime = open_runtime("cpu")
    network = runtime.prepare(RAFT(variant))
    network.update_block.flow_head.conv2.weight.mul_(0.125)
    coarse = 255 * torch.rand(1, 3, height // 8, width // 8 + 1)
    picture = F.interpolate(coarse, scale_factor=8, mode="bilinear").to(torch.uint8)
    runtime.run(network, *(torch.zeros(1, 3, 128, 128, dtype=torch.uint8),) * 2)
    before, start = peak_mib(), time.process_time()
    runtime.run(network, picture[..., :width], picture[..., 8:])
    print(f"{lookup:<12}{time.process_time() - start:8.1f} s{peak_mib():8} MiB, {before} before", flush=True)


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--variant", default="large")
    parser.add_argument("--lookup", choices=LIMITS)
    args = parser.parse_args()
    if args.lookup:
        height, width = map(int, args.size.split("x"))
        measure(args.lookup, height, width, args.variant)
        return
    for lookup in LIMITS:
        command = [sys.executable, __file__, "--size", args.size, "--variant", args.variant, "--lookup", lookup]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
