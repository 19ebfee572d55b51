"""What a trained corrector makes of carried labels, on frames that it has not learnt from.

python benchmarks/corrector.py [--data ../shared/data] [--only streets camvid time]

mIoU at ±1…5 and in the mean, from one side and by DIS, and the calibration error of confidence. Streets: one data set
teaches, by exact truth or by its annotated frames alone, and others are scored. DATA/camvid_15hz, if it is there: four
or five annotated frames teach, and what is carried from the others is scored, both ways about; and all nine teach, and
the frames between them are scored. Frames whose labels taught are left out. DATA/cityscapes_clip: what streets taught,
against another network's labels.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from masks import CARRIED, LENGTH, REACH, STREETS, Score, look_at_carried
from torch import Tensor

from jobs.console.tables import Table
from jobs.timing import Stopwatch
from jobs.training.runtime import Runtime
from propagate.carry.carried import Carried
from propagate.carry.correction import NetworkCorrection
from propagate.carry.corrector import LabelCorrector, cell_for
from propagate.carry.corrector_files import open_corrector
from propagate.carry.opened import open_clip
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.classes import load_classes
from propagate.datasets.base import Dataset
from propagate.datasets.registry import DatasetOptions, open_dataset
from propagate.fit.config import FitConfig
from propagate.fit.training import fit_corrector
from propagate.scoring.metrics import mean_iou
from propagate.synth.write import write_dataset
from sdcnet.motion.classical import Dis

TEACHING = (12, 43)  # snippets of 256x512, and a seed
RUNTIME = Runtime(device=torch.device("cpu"))
HEADS = ("frames", "labels", *(f"±{distance}" for distance in range(1, REACH + 1)), "mean", "ECE, %")


def scored(
    dataset: Dataset, truth: Path, corrections: Mapping[str, NetworkCorrection], taught: Collection[str] = ()
) -> list[list[str]]:
    """A row for the carried labels, and for each correction. taught: keys of frames that are not scored."""
    scores = defaultdict[str, Score](lambda: Score(dataset.classes))

    def look(carried: Carried, targets: Tensor, key: str, true: np.ndarray, distance: int) -> None:
        if key not in taught:
            made = {CARRIED: carried, **{name: each(carried, targets, [key]) for name, each in corrections.items()}}
            for name, found in made.items():
                scores[name].add(distance, true, found.label[0, 0], found.confidence[0, 0])

    look_at_carried(dataset, truth, look)
    rows = []
    for name, score in scores.items():
        there = score.matrices
        by_distance = [f"{mean_iou(there[each]):.4f}" if each in there else "–" for each in range(1, REACH + 1)]
        rows.append([name, *by_distance, *score.cells()])
    return rows


def taught_by(options: DatasetOptions, dataset: str, out: Path, **settings: object) -> NetworkCorrection:
    config = FitConfig(options=options, dataset=dataset, out=out, **settings)  # type: ignore[arg-type]
    began = time.monotonic()
    summary = fit_corrector(config)
    classes = open_dataset(dataset, options).classes
    print(f"{out.name}: {time.monotonic() - began:.0f} s; {summary.scores}", flush=True)
    return NetworkCorrection(RUNTIME.prepare(open_corrector(summary.weights, classes)), classes, RUNTIME)


def streets(data: Path, temporary: Path, show: Callable[[list[str]], None]) -> None:
    snippets, seed = TEACHING
    root = temporary / "teaching"
    write_dataset(root, num_snippets=snippets, size=(256, 512), length=LENGTH, around=REACH, seed=seed)
    options = DatasetOptions(root=root, split="train")
    corrections = {
        "taught by exact truth": taught_by(options, "cityscapes", temporary / "by-truth", truth=root / "truth"),
        "taught by cycles": taught_by(options, "cityscapes", temporary / "by-cycles"),
    }
    for size, (snippets, seed) in STREETS.items():
        root = temporary / str(seed)
        write_dataset(root, num_snippets=snippets, size=size, length=LENGTH, around=REACH, seed=seed)
        dataset = open_dataset("cityscapes", DatasetOptions(root=root, split="train"))
        for row in scored(dataset, root / "truth", corrections):
            show(["streets of {}x{}".format(*size), *row])
    if (data / "cityscapes_clip").is_dir():
        dataset = open_dataset("cityscapes", DatasetOptions(root=data / "cityscapes_clip", split="train"))
        for row in scored(dataset, data / "cityscapes_clip" / "predicted", corrections):
            show(["Cityscapes", *row])


def camvid(root: Path, temporary: Path, show: Callable[[list[str]], None]) -> None:
    labels = sorted((root / "clipannot").iterdir())
    halves = (labels[: len(labels) // 2], labels[len(labels) // 2 :])
    for number, (teaching, scoring) in enumerate((halves, halves[::-1]), 1):
        options = []
        for name, kept in (("teaching", teaching), ("scoring", scoring)):
            part = temporary / f"{name}-{number}"
            (part / "clipannot").mkdir(parents=True)
            (part / "clip").symlink_to((root / "clip").resolve())
            for label in kept:
                shutil.copy(label, part / "clipannot")
            options.append(DatasetOptions(root=part, split="clip", max_gap=2))
        corrections = {"taught by the other half": taught_by(options[0], "camvid", temporary / f"camvid-{number}")}
        taught = {clip.key for clip in open_dataset("camvid", options[0]).clips(0)}
        for row in scored(open_dataset("camvid", options[1]), root / "truth", corrections, taught):
            show([f"CamVid, half {number}", *row])
    options_of_all = DatasetOptions(root=root, split="clip", max_gap=2)
    dataset = open_dataset("camvid", options_of_all)
    corrections = {"taught by the same clips": taught_by(options_of_all, "camvid", temporary / "camvid")}
    for row in scored(dataset, root / "truth", corrections, {clip.key for clip in dataset.clips(0)}):
        show(["CamVid, frames between", *row])


def seconds() -> None:
    """Of a processor, for a frame of Cityscapes' size: to carry labels to it, and to correct them."""
    classes = load_classes("cityscapes")
    correction = NetworkCorrection(
        RUNTIME.prepare(LabelCorrector(len(classes.train_names), cell_for((1024, 2048)))), classes, RUNTIME
    )
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "large"
        write_dataset(root, num_snippets=1, size=(1024, 2048), length=LENGTH, around=REACH, seed=44)
        (clip,) = open_dataset("cityscapes", DatasetOptions(root=root, split="train")).clips(REACH)
        estimator = Dis()
        began = time.process_time()
        samples = propagate_clip(
            open_clip(clip, classes, Stopwatch()),
            ignore_id=classes.ignore_id,
            estimator=estimator,
            path=path_of(estimator),
            sample_settings=SampleSettings(source=False),
            watch=watch,
            on_failure=print,
            corrections=[correction],
        )
        number = sum(1 for _ in samples)
        whole, corrected = (time.process_time() - began) / number, watch.seconds["correction"] / number
    print(f"1024x2048: {whole:.2f} s a sample, of which {corrected:.2f} s are correction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("PROPAGATE_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="the folder of real data")
    parser.add_argument(
        "--only", nargs="+", choices=("streets", "camvid", "time"), default=("streets", "camvid", "time")
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows: list[list[str]] = []

    def show(row: list[str]) -> None:
        rows.append(row)
        print("  ".join(row), flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        if "camvid" in arguments.only and (arguments.data / "camvid_15hz").is_dir():
            camvid(arguments.data / "camvid_15hz", Path(temporary), show)
        if "streets" in arguments.only:
            streets(arguments.data, Path(temporary), show)
    if rows:
        print(Table(HEADS, rows).text())
    if "time" in arguments.only:
        seconds()


if __name__ == "__main__":
    main()
