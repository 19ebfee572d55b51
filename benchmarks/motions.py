"""Which motion carries labels best? mIoU on synthetic streets with exact truth, and seconds of a processor a sample.

python benchmarks/motions.py [--size 256x512] [--snippets 6] [-- --motion raft --raft-weights FILE …]

±5 from one annotated frame each, one process. What follows -- is one more motion, with its options. Seconds are those
of the whole run, less those of a run that leaves labels in place, which decodes and writes the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.console.tables import Table

MOTIONS = (
    ("--motion", "none"),
    ("--motion", "codec", "--transcode", "mpeg4"),
    ("--motion", "dis"),
    ("--motion", "tvl1"),
)


def propagate(*arguments: object) -> tuple[str, float]:
    """What a command says, and the seconds of a processor that it took."""
    command = [sys.executable, "-m", "propagate", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return said, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="256x512")
    parser.add_argument("--snippets", type=int, default=6)
    parser.add_argument("more", nargs="*", help="one more motion, after --")
    arguments = parser.parse_args()
    motions = [*MOTIONS, *([tuple(arguments.more)] if arguments.more else [])]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "street"
        options = ("--size", arguments.size, "--snippets", arguments.snippets, "--seed", 51, "--around", 5)
        propagate("synth", root, *options)
        least = None
        for number, motion in enumerate(motions):
            out = Path(temporary) / f"out-{number}"
            said, seconds = propagate(
                *("run", "--root", root, "--out", out, "--one-sided", "--engine", "local", "--json", *motion)
            )
            least = seconds if least is None else least
            scores = json.loads(propagate("evaluate", out, "--root", root, "--truth", root / "truth", "--json")[0])
            at = scores["abs_offsets"]
            mean = sum(at[str(k)]["miou"] for k in range(1, 6)) / 5
            cells = [f"{at[str(k)]['miou']:.3f}" for k in (1, 3, 5)]
            a_sample = (seconds - least) / json.loads(said)["written"]
            rows.append([" ".join(motion), *cells, f"{mean:.4f}", f"{a_sample:.3f}" if number else "–"])
            print(Table(("motion", "±1", "±3", "±5", "mean", "s a sample"), rows[-1:]).text(), flush=True)
    print(f"\n{Table(('motion', '±1', '±3', '±5', 'mean', 's a sample'), rows).text()}")


if __name__ == "__main__":
    main()
