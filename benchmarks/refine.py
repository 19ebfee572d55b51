"""What a network makes of carried labels, and what that is worth to train on: against exact truth.

python benchmarks/refine.py labels STORE --weights FILE --truth DIR     labels of carrying, of the network, of both
python benchmarks/refine.py train WORK [--weights FILE] [--seeds 2]     train, refine, train, on synthetic streets

`labels`: a network that was not trained on the truth of these frames. `train`: six annotated frames and the five
neighbours on each side, whose labels are carried, refined by the network that was trained on them, and once more by
the one that was trained on what came out; each network has the same steps, and begins with the same weights (FILE, or
none). At the end, the same on the frames' exact labels, the most that labels can be worth here. WORK may be the folder
of a run that was stopped.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from jobs.console.tables import Table
from jobs.training.runtime import open_runtime
from propagate.data.images import decode_frame
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, Sample, quantize_confidence
from propagate.scoring.calibration import expected_calibration_error, risk_coverage_area
from propagate.scoring.evaluate import evaluate_store, find_truths, score_sample
from propagate.scoring.metrics import MatrixScores
from propagate.scoring.report import Report
from propagate.scoring.truth import truth_directory
from propagate.shards.reader import open_store
from propagate.synth.write import write_dataset
from segtrain.inference import probabilities
from segtrain.pseudo.settings import TeacherInference
from segtrain.refine.fusion import fuse
from segtrain.refine.run import shares_of
from segtrain.trained import open_trained

MEASURES = ("mIoU", "covered mIoU", "right, %", "no label, %", "ECE, %", "AURC, thousandths")
NETWORK = (
    *("--recipe", "tiny", "--network", "resnet18", "--batch-size", "4", "--loader-workers", "0", "--crop", "96x192"),
    *("--epochs", "1", "--max-val-images", "1"),  # the last network counts, and is scored afterwards
)
CARRIED, EXACT = "carried", "exact"
LAYOUT = """frames: leftImg8bit_sequence/{split}/*/{sequence}_{frame}_leftImg8bit.png
labels: truth/{split}/*/{sequence}_{frame}_gtFine_labelIds.png
classes: cityscapes
"""


def scores_of(report: Report) -> tuple[str, ...]:
    """The cells of MEASURES: mIoU as `propagate evaluate` has it, in the mean over distances."""
    by_distance = [MatrixScores.of(counts.whole) for counts in report.per_abs_offset.values()]
    everything = MatrixScores.of(np.sum([counts.whole for counts in report.per_offset.values()], axis=0))
    covered = statistics.mean(scores.miou_covered for scores in by_distance)
    shares = (report.miou, covered, everything.accuracy, 1 - everything.coverage)
    error = expected_calibration_error(report.reliability)
    area = risk_coverage_area(report.reliability)
    return (*(f"{100 * share:.2f}" for share in (*shares, error)), f"{1000 * area:.2f}")


def compare_labels(arguments: argparse.Namespace) -> str:
    """A row for each way to come to labels, of one pass of the network over each frame."""
    store = open_store(arguments.store)
    classes = store.manifest.classes
    truths = find_truths(store, truth_directory(arguments.truth))
    runtime = open_runtime("cpu", "float32")
    network = open_trained(arguments.weights, runtime, classes=classes).network
    inference = TeacherInference(scales=arguments.scales, flip=arguments.flip)
    shares = torch.tensor(shares_of(store.manifest))
    reports: dict[str, Report] = {}

    def add(name: str, sample: Sample, label: np.ndarray, confidence: np.ndarray) -> None:
        found = np.where(classes.train_id_of[sample.label] == 255, 255, label)  # what nobody labelled stays so
        levels = quantize_confidence(torch.from_numpy(confidence)).numpy()
        made = replace(sample, label=classes.id_of_train_id[found].astype(np.uint8), confidence=levels)
        score_sample(made, truths.get(sample.key), classes, reports.setdefault(name, Report.empty(classes.train_names)))

    for sample in store.samples():
        if sample.origin == ANNOTATED or sample.key not in truths:
            continue
        carried = classes.train_id_of[sample.label]
        sure = sample.confidence.astype(np.float32) / (CONFIDENCE_LEVELS - 1)
        image = decode_frame(bytes(sample.image), sample.key)
        (block,) = probabilities(network, image, inference, runtime)
        together = fuse(block.probabilities, torch.from_numpy(carried), torch.from_numpy(sure), shares)
        add("carried", sample, carried, sure)
        add("the network alone", sample, block.labels, block.probabilities.amax(0).numpy())
        for doubt in (0.0, 0.4, 0.5, 0.6):
            kept = np.where(together.confidence >= doubt, together.labels, np.uint8(255))
            add(f"refined, --doubt {doubt:g}", sample, kept, together.confidence)
    return Table(("", *MEASURES), [[name, *scores_of(report)] for name, report in reports.items()]).text()


class Rounds:
    """Trainings on labels that are refined from one to the next, in a folder of their own."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.work, self.root = arguments.work.resolve(), arguments.work.resolve() / "data"
        self.steps, self.start = arguments.steps, arguments.weights
        self.work.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        for split, snippets, around in (("val", 24, 0), ("train", 6, 5)):
            if not (self.root / "gtFine" / split).exists():
                sizes = {"size": (192, 384), "length": 30, "around": around}
                write_dataset(self.root, split=split, num_snippets=snippets, seed=21, **sizes)  # type: ignore[arg-type]
        layout = self.work / "exact.yaml"
        layout.write_text(LAYOUT, encoding="utf-8")
        frames = ("--root", self.root, "--split", "train", "--engine", "local")
        self._call("propagate", "run", *frames, "--frames", 5, "--out", self.work / CARRIED)
        self._call("propagate", "run", *frames, "--layout", layout, "--frames", 0, "--out", self.work / EXACT)

    def run(self, seed: int, num_rounds: int) -> dict[str, float]:
        """mIoU on unseen streets of each network, by what it was trained on."""
        found = {CARRIED: self._trained(CARRIED, seed)}
        before = CARRIED
        for number in range(1, num_rounds + 1):
            name = f"refined-{number}-{seed}-{self.steps}"
            weights = self.work / f"on-{before}-{seed}-{self.steps}" / "last.safetensors"
            fixed = ("--weights", weights, "--engine", "local", "--out", self.work / name)
            self._call("segtrain", "refine", self.work / CARRIED, *fixed)
            found[f"refined {number}"] = self._trained(name, seed)
            before = name
        found[EXACT] = self._trained(EXACT, seed)
        return found

    def labels(self, names: Iterable[str]) -> list[list[str]]:
        rows = []
        for name in names:
            report = evaluate_store(open_store(self.work / name), truth_directory(self.root / "truth"))
            rows.append([name, *scores_of(report)])
        return rows

    def _trained(self, store: str, seed: int) -> float:
        out = self.work / f"on-{store}-{seed}-{self.steps}"
        scores = out / "scores.json"
        if not scores.exists():
            begin = () if self.start is None else ("--weights", self.start, "--learning-rate", 0.001)
            length = ("--epoch-length", 4 * self.steps, "--seed", seed)
            data = ("--shards", self.work / store, "--root", self.root)
            self._call("segtrain", "fit", *NETWORK, *data, *length, *begin, "--out", out)
            said = self._call("segtrain", "evaluate", out / "last.safetensors", "--root", self.root, "--json")
            scores.write_text(said, encoding="utf-8")
        miou: float = json.loads(scores.read_text(encoding="utf-8"))["miou"]
        print(f"seed {seed}: {100 * miou:.2f} on {store}", file=sys.stderr)
        return miou

    def _call(self, program: str, *arguments: object) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-m", program, *map(str, arguments)]
        process = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
        if process.returncode:
            sys.exit(f"{program} {' '.join(map(str, arguments))}\n{process.stderr}")
        return process.stdout


def run_rounds(arguments: argparse.Namespace) -> str:
    rounds = Rounds(arguments)
    rounds.prepare()
    by_seed = [rounds.run(seed, arguments.rounds) for seed in range(arguments.seeds)]
    rows = []
    for name in by_seed[0]:
        scores = [100 * found[name] for found in by_seed]
        gains = [100 * (found[name] - found[CARRIED]) for found in by_seed]
        cells = (f"{statistics.mean(scores):.2f}", ", ".join(f"{each:.2f}" for each in scores))
        rows.append([name, *cells, f"{statistics.mean(gains):+.2f}"])
    refined = [
        f"refined-{number}-{seed}" for seed in range(arguments.seeds) for number in range(1, arguments.rounds + 1)
    ]
    labels = Table(("labels", *MEASURES), rounds.labels([CARRIED, *refined])).text()
    return f"{labels}\n\n{Table(('trained on', 'mIoU, mean', 'of each seed', 'to carried'), rows).text()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    labels = parts.add_parser("labels")
    labels.add_argument("store", type=Path)
    labels.add_argument("--weights", type=Path, required=True)
    labels.add_argument("--truth", type=Path, required=True)
    labels.add_argument("--scales", type=float, nargs="+", default=TeacherInference().scales)
    labels.add_argument("--flip", action=argparse.BooleanOptionalAction, default=True)
    labels.set_defaults(function=compare_labels)
    train = parts.add_parser("train")
    train.add_argument("work", type=Path)
    train.add_argument("--weights", type=Path, help="what every network begins with")
    train.add_argument("--seeds", type=int, default=2)
    train.add_argument("--steps", type=int, default=150)
    train.add_argument("--rounds", type=int, default=2)
    train.set_defaults(function=run_rounds)
    arguments = parser.parse_args()
    print(arguments.function(arguments))


if __name__ == "__main__":
    main()
