"""Which motion carries labels best? mIoU on synthetic streets with exact truth, and seconds of a processor a sample.

python benchmarks/motions.py [--size 256x512] [--snippets 6] [--weights FILE …]

±5 from one annotated frame each, one process. Each file of weights is one more motion, the one that it is for. Seconds
are those of the whole run, less those of a run that leaves labels in place, which decodes and writes the same, for each
frame that labels are carried to.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.console.tables import Table
from sdcnet.motion.registry import PREDICTORS, RAFTS
from sdcnet.networks.checkpoints import read_checkpoint

MOTIONS = (
    ("--motion", "none"),
    ("--motion", "codec", "--transcode", "mpeg4"),
    ("--motion", "dis"),
    ("--motion", "tvl1"),
)
OFFSETS = range(1, 6)
HEADS = ("motion", *(f"±{offset}" for offset in OFFSETS), "mean", "s a sample")


def motion_of(weights: Path) -> tuple[str, ...]:
    """The options for the motion that a file of weights is for."""
    checkpoint = read_checkpoint(weights)
    for motions, option, held in (
        (RAFTS, "--raft-weights", checkpoint.raft),
        (PREDICTORS, "--sdcnet-weights", checkpoint.predictor),
    ):
        for motion, network in motions.items():
            if network == held:
                return "--motion", motion, option, str(weights)
    sys.exit(f"{weights}: holds neither a RAFT nor a video predictor that says which it is")


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
    parser.add_argument("--weights", type=Path, nargs="+", default=[], help="of video predictors or of RAFT")
    arguments = parser.parse_args()
    motions = [*MOTIONS, *map(motion_of, arguments.weights)]
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
            miou = [at[str(offset)]["miou"] for offset in OFFSETS]
            cells = [*(f"{each:.3f}" for each in miou), f"{sum(miou) / len(miou):.4f}"]
            a_sample = (seconds - least) / (json.loads(said)["written"] - arguments.snippets)
            rows.append([" ".join(motion), *cells, f"{a_sample:.3f}" if number else "–"])
            print(Table(HEADS, rows[-1:]).text(), flush=True)
    print(f"\n{Table(HEADS, rows).text()}")


if __name__ == "__main__":
    main()
