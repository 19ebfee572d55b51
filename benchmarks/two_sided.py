"""Labels of frames between two annotated ones: of the nearer alone, and fused from both.

python benchmarks/two_sided.py [--data ../shared/data]

On synthetic streets with exact truth, and on DATA/camvid_15hz, where that is; annotated frames are 10 apart, and
labels are carried 9 frames. Scored are the frames between, each once: mIoU by the distance to the nearer annotated
frame; of two that are equally near, the earlier counts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jobs.console.tables import Table
from propagate.data.sample import FUSED
from propagate.scoring.calibration import expected_calibration_error
from propagate.scoring.evaluate import score_sample
from propagate.scoring.metrics import mean_iou
from propagate.scoring.report import Report
from propagate.scoring.truth import truth_directory
from propagate.shards.identity import identity_of, numbers_by_identity
from propagate.shards.reader import open_store

APART, CARRIED = 10, 9
STREETS = ("--size", "256x512", "--length", 30, "--snippets", 6, "--seed", 47)  # the twentieth frames are annotated


@dataclass(frozen=True)
class Source:
    """A data set with annotated frames APART, and the folder with the truth of all frames."""

    name: str
    truth: Path
    options: tuple[object, ...]


def street(folder: Path) -> Source:
    root = folder / "street"
    propagate("synth", root, *STREETS)
    for annotated in sorted((root / "gtFine").rglob("*_gtFine_labelIds.png")):
        key = annotated.name.removesuffix("_gtFine_labelIds.png")
        snippet, number = key.rsplit("_", 1)
        [truth] = (root / "truth").rglob(annotated.name)
        for other in (int(number) - APART, int(number) + APART):
            name = f"{snippet}_{other:06d}_gtFine_labelIds.png"
            shutil.copy(truth.with_name(name), annotated.with_name(name))
    return Source("street", root / "truth", ("--root", root))


def camvid(folder: Path, data: Path) -> Source:
    root = folder / "camvid"
    (root / "clipannot").mkdir(parents=True)
    (root / "clip").symlink_to(data / "clip")
    for label in sorted((data / "clipannot").glob("*.png"))[::2]:
        shutil.copy(label, root / "clipannot")
    options = ("--root", root, "--dataset", "camvid", "--split", "clip", "--max-gap", 2)
    return Source("CamVid", data / "truth", options)


def propagate(*arguments: object) -> str:
    command = [sys.executable, "-m", "propagate", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def run(source: Source, out: Path, *options: object) -> float:
    """Seconds per sample."""
    about = ("--out", out, "--frames", CARRIED, "--engine", "local", "--json")
    summary = json.loads(propagate("run", *source.options, *about, *options))
    return float(summary["seconds"] / summary["written"])


def scores(source: Source, one_sided: Path, two_sided: Path) -> dict[str, Report]:
    """What the same frames' labels are worth, of one side and fused."""
    ways = {"one-sided": open_store(one_sided), "fused": open_store(two_sided)}
    fused = [record for record in ways["fused"].records() if record.origin == FUSED]
    truths = truth_directory(source.truth)([record.key for record in fused])
    found = {}
    for way, store in ways.items():
        found[way] = report = Report.empty(store.manifest.classes.train_names)
        numbers = numbers_by_identity(store)
        for record in fused:
            sample = store.sample(numbers[identity_of(record)], images=False)
            score_sample(sample, truths[record.key], store.manifest.classes, report)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("PROPAGATE_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="the folder of real data")
    arguments = parser.parse_args()
    distances = range(1, APART // 2 + 1)
    heads = ("set", "labels", "frames", *(f"±{distance}" for distance in distances), "mean", "ECE", "s/sample")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        sources = [street(folder)]
        if (arguments.data / "camvid_15hz").is_dir():
            sources.append(camvid(folder, (arguments.data / "camvid_15hz").resolve()))
        for source in sources:
            stores = folder / f"{source.name}-one", folder / f"{source.name}-two"
            seconds = run(source, stores[0], "--one-sided"), run(source, stores[1])
            for (way, report), each in zip(scores(source, *stores).items(), seconds, strict=True):
                by_distance = [f"{mean_iou(report.per_abs_offset[distance].whole):.3f}" for distance in distances]
                error = expected_calibration_error(report.reliability)
                cells = (*by_distance, f"{report.miou:.3f}", f"{error:.3f}", f"{each:.3f}")
                rows.append([source.name, way, str(report.scored), *cells])
    print(Table(heads, rows).text())


if __name__ == "__main__":
    main()
