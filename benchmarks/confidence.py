"""Is confidence as often right as it says, does it know the wrong pixels, and which samples are worst?

python benchmarks/confidence.py [--data ../shared/data] [--against CHECKOUT] [--keep DIR]

On synthetic streets that nothing was fitted to, on DATA/cityscapes_clip and on DATA/camvid_15hz, where these are; ±5,
DIS, from one annotated frame each. With --against another checkout's confidence stands beside this one's. The truth of
the Cityscapes snippets is another network's prediction, which is wrong itself: how often, by the distance from an
outline, is measured on the frames that people annotated, and allowed for where the table says so.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from jobs.console.tables import Table
from propagate.carry.confidence import outlines
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.images import read_label
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, REASONS, Sample
from propagate.scoring.calibration import LEVELS, expected_calibration_error, risk_coverage_area
from propagate.scoring.evaluate import count_reliability
from propagate.scoring.metrics import accuracy, confusion, covered, mean_iou
from propagate.scoring.ranking import rank_score
from propagate.scoring.truth import truth_directory
from propagate.shards.reader import Store, open_store

STREETS = {"256x512": (6, 12), "512x1024": (3, 16), "1024x2048": (2, 17)}  # snippets, and a seed
FARTHEST = 64  # pixels from an outline: beyond, a weak truth is as often wrong as there
EVERYTHING = len(REASONS)  # its row of the counts by reason


@dataclass(frozen=True)
class Source:
    """Frames, and the label maps that are their truth. is_weak: they were predicted. flags: where there are such."""

    name: str
    truth: Path
    options: tuple[object, ...]
    is_weak: bool = False
    flags: tuple[str, ...] = ()


@dataclass
class Found:
    """What confidence is worth in one store. by_reason: [5,16,2] wrong and right pixels; the last row has all.

    allowed: [16], as many pixels of each level as would be right by it if the truth, too, were wrong as often as it is.
    """

    by_reason: np.ndarray = field(default_factory=lambda: np.zeros((EVERYTHING + 1, CONFIDENCE_LEVELS, 2), np.int64))
    allowed: np.ndarray = field(default_factory=lambda: np.zeros(CONFIDENCE_LEVELS))
    says_reasons: bool = True
    miou: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    rank: list[float] = field(default_factory=list)

    @property
    def reliability(self) -> np.ndarray:
        return self.by_reason[EVERYTHING]

    def add(self, sample: Sample, truth: np.ndarray, classes: ClassTable, truth_errors: np.ndarray) -> None:
        """truth: [H,W] train ids. truth_errors: [FARTHEST + 1], by the distance from an outline."""
        prediction = classes.train_id_of[sample.label]
        self.by_reason[EVERYTHING] += count_reliability(truth, prediction, sample.confidence)
        self.says_reasons &= sample.reason is not None
        if sample.reason is not None:
            for number in range(len(REASONS)):
                told = np.where(sample.reason == number, truth, np.uint8(IGNORE_TRAIN_ID))
                self.by_reason[number] += count_reliability(told, prediction, sample.confidence)
        scored = (truth != IGNORE_TRAIN_ID) & (prediction != IGNORE_TRAIN_ID)
        truth_is_right = 1 - truth_errors[distance(sample.label)[scored]]
        self.allowed += np.bincount(sample.confidence[scored], truth_is_right, CONFIDENCE_LEVELS) * LEVELS
        matrix = confusion(truth, prediction, len(classes.train_names))
        self.miou.append(mean_iou(matrix))
        self.right.append(accuracy(covered(matrix)))
        self.offset.append(abs(sample.offset))
        self.score.append(sample.score)
        self.rank.append(rank_score(sample.label, sample.confidence, classes))

    @property
    def error_allowed(self) -> float:
        """The calibration error that is left when the truth's own errors are allowed for."""
        return float(np.abs(self.allowed - self.reliability[:, 1]).sum() / self.reliability.sum())


def distance(label: np.ndarray) -> np.ndarray:
    """Whole pixels to the nearest outline of a label map [H,W] uint8, at most FARTHEST: [H,W]."""
    marked = outlines(torch.from_numpy(label)[None, None])[0, 0]
    return np.minimum(cv2.distanceTransform((~marked).byte().numpy(), cv2.DIST_L2, 5), FARTHEST).astype(np.intp)


def look(store: Store, source: Source) -> Found:
    classes = store.manifest.classes
    truths = truth_directory(source.truth)([record.key for record in store.records()])
    errors = np.zeros(FARTHEST + 1)
    if source.is_weak:
        wrong, pixels = np.zeros(FARTHEST + 1), np.zeros(FARTHEST + 1)
        for sample in store.samples(images=False):
            if sample.origin == ANNOTATED:
                drawn, predicted = (
                    classes.train_id_of[label] for label in (sample.label, read_label(truths[sample.key], classes))
                )
                scored = (drawn != IGNORE_TRAIN_ID) & (predicted != IGNORE_TRAIN_ID)
                far = distance(sample.label)[scored]
                wrong += np.bincount(far, (drawn != predicted)[scored], FARTHEST + 1)
                pixels += np.bincount(far, minlength=FARTHEST + 1)
        errors = wrong / np.maximum(pixels, 1)
        print(f"{source.name}: {wrong.sum() / pixels.sum():.2%} of the pixels of the truth are wrong themselves")
    found = Found()
    for sample in store.samples(images=False):
        if sample.origin != ANNOTATED and sample.key in truths:
            truth = classes.train_id_of[read_label(truths[sample.key], classes)]
            found.add(sample, truth, classes, errors)
    return found


def propagate(checkout: Path, *arguments: object) -> str:
    """What that version prints."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "propagate", *map(str, arguments)]
    return subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout


def sources(folder: Path, data: Path, here: Path) -> list[Source]:
    """Those that there are; the streets are made."""
    found = []
    for size, (snippets, seed) in STREETS.items():
        root = folder / f"street-{size}"
        if not root.exists():
            propagate(here, "synth", root, "--size", size, "--snippets", snippets, "--seed", seed, "--length", 25)
        found.append(Source(f"street {size}", root / "truth", ("--root", root)))
    if (data / "cityscapes_clip").is_dir():
        root = data / "cityscapes_clip"
        found.append(Source("Cityscapes", root / "predicted", ("--root", root), is_weak=True))
    if (data / "camvid_15hz").is_dir():
        root = data / "camvid_15hz"
        options = ("--root", root, "--dataset", "camvid", "--split", "clip", "--max-gap", 2)
        found.append(Source("CamVid", root / "truth", options, flags=("--one-sided",)))
    return found


def shared_worst(score: list[float], truth: list[float], share: float) -> float:
    """Of the share ranked worst, the share that is among the truly worst; ties count by chance."""
    num = max(1, round(share * len(truth)))
    truly = set(np.argsort(truth, kind="stable")[:num].tolist())
    values = np.asarray(score)
    edge = np.sort(values)[num - 1]
    below, at = np.flatnonzero(values < edge).tolist(), np.flatnonzero(values == edge).tolist()
    hits_at = len(truly.intersection(at)) * (num - len(below)) / len(at)
    return (len(truly.intersection(below)) + hits_at) / num


def rank_correlation(one: list[float], other: list[float]) -> float:
    """Spearman's; ties have their mean rank."""
    ranks = []
    for values in (one, other):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    one_ranks, other_ranks = ranks
    correlations: np.ndarray = np.corrcoef(one_ranks, other_ranks)
    return float(correlations[0, 1])


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def print_calibration(all_found: dict[str, dict[str, Found]]) -> None:
    heads = ("set", "version", "samples", "wrong, %", "ECE, %", "truth's errors allowed for", "AURC, thousandths")
    rows = []
    for name, versions in all_found.items():
        for version, found in versions.items():
            wrong = found.reliability[:, 0].sum() / found.reliability.sum()
            error, area = expected_calibration_error(found.reliability), risk_coverage_area(found.reliability)
            cells = (percent(wrong), percent(error), percent(found.error_allowed), f"{1000 * area:.2f}")
            rows.append([name, version, str(len(found.miou)), *cells])
    print(f"\n{Table(heads, rows).text()}")


def print_reliability(all_found: dict[str, dict[str, Found]]) -> None:
    """Two levels a row: the share of pixels, and how many of them are right."""
    for version in next(iter(all_found.values())):
        rows = []
        for level in range(0, CONFIDENCE_LEVELS, 2):
            row = [f"{LEVELS[level]:.2f}, {LEVELS[level + 1]:.2f}"]
            for versions in all_found.values():
                counts = versions[version].reliability
                wrong, right = counts[level : level + 2].sum(axis=0).tolist()
                share = (wrong + right) / counts.sum()
                row.append(f"{percent(share)}: {percent(right / (wrong + right))}" if wrong + right else "-")
            rows.append(row)
        print(f"\n% of the pixels: of these right, %; {version}")
        print(Table(("confidence", *all_found), rows).text())


def print_reasons(all_found: dict[str, dict[str, Found]]) -> None:
    rows = []
    for number, reason in enumerate(REASONS):
        row = [reason]
        for versions in all_found.values():
            found = versions["now"]
            counts, total = found.by_reason[number], found.reliability.sum()
            pixels = counts.sum(axis=1)
            num = pixels.sum()
            told = [percent(part) for part in (counts[:, 1].sum() / num, LEVELS @ pixels / num)] if num else ["-", "-"]
            row.append("{}: {} ({})".format(percent(num / total), *told))
        rows.append(row)
    print("\n% of the pixels: of these right, % (what confidence says); now")
    print(Table(("reason", *all_found), rows).text())


def print_ranking(all_found: dict[str, dict[str, Found]]) -> None:
    heads = (
        "set",
        "ordered by",
        "mIoU: tenth",
        "third",
        "rank correlation",
        "wrong pixels: tenth",
        "third",
        "rank correlation",
    )
    rows = []
    for name, versions in all_found.items():
        found = versions["now"]
        orders = {"offset": [-float(offset) for offset in found.offset], "mean confidence": found.score}
        for order, score in {**orders, "rank_score": found.rank}.items():
            cells = []
            for truth in (found.miou, found.right):
                cells += [f"{shared_worst(score, truth, share):.2f}" for share in (0.1, 1 / 3)]
                cells.append(f"{rank_correlation(score, truth):.2f}")
            rows.append([name, order, *cells])
    print("\nof the tenth, and of the third, ranked worst, the share that is among the truly worst; Spearman's")
    print(Table(heads, rows).text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("PROPAGATE_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="the folder of real data")
    parser.add_argument("--against", type=Path, help="another checkout of the project")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    checkouts = {"before": arguments.against.resolve()} if arguments.against else {}
    checkouts["now"] = here
    known = {version: propagate(checkout, "run", "--help") for version, checkout in checkouts.items()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        all_found: dict[str, dict[str, Found]] = {}
        for source in sources(folder, arguments.data.resolve(), here):
            all_found[source.name] = {}
            for version, checkout in checkouts.items():
                out = folder / f"{source.name.replace(' ', '-')}-{version}"
                flags = [flag for flag in source.flags if flag in known[version]]
                propagate(checkout, "run", *source.options, *flags, "--out", out, "--engine", "local")
                all_found[source.name][version] = look(open_store(out), source)
    print_calibration(all_found)
    print_reliability(all_found)
    print_reasons(all_found)
    print_ranking(all_found)


if __name__ == "__main__":
    main()
