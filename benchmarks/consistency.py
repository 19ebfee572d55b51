"""Does training for consistency in time gain? The same steps with one part after another, scored by mIoU and TC.

python benchmarks/consistency.py synth WORK --teacher FILE [--seeds 3] [--steps 150] [--jobs 2]
python benchmarks/consistency.py camvid WORK --teacher FILE [--data ../shared/data]

Streets: 40 annotated frames, scored on 24 unseen snippets. CamVid: three annotated frames, scored on a later stretch of
the same drive. Every run of a seed begins with the same student, which has learnt from the annotated frames alone.

Each finished run is a line of results.jsonl in a folder of WORK, which is of a data set and of its numbers of steps;
the same command goes on with what is missing, and says what there is. Another teacher takes another WORK. Every run is
commands of `segtrain` in a process of one thread.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from trainings import Results, call, camvid_stretch, with_error

from propagate.datasets.base import DatasetOptions
from propagate.synth.write import write_dataset
from segtrain.data.labelled_frames import open_labelled_frames

NEIGHBOURS = 5
BASELINE = "baseline"
TEMPORAL = ("--temporal", "2")
DISTILLATION = (
    *("--clip-frames", "3", "--distill-frame", "1", "--distill-pairs", "1"),
    *("--distill-sequence", "1", "--sequence-pool", "2"),
)
PSEUDO, PROPAGATED = "pseudo", "propagated"  # stores beside the annotated frames
MEASURES = {"miou": "mIoU", "tc": "TC", "tc_frequent": "TC, frequent classes", "same": "same labels"}
RIVALS: dict[str, dict[str, tuple[str, ...]]] = {
    BASELINE: {},
    "TL": {"options": TEMPORAL},
    "TL + distillation": {"options": (*TEMPORAL, *DISTILLATION)},
    "pseudo labels": {"stores": (PSEUDO,)},
    "propagated samples": {"stores": (PROPAGATED,)},
    "all": {"options": (*TEMPORAL, *DISTILLATION), "stores": (PSEUDO, PROPAGATED)},
}
OF_CAMVID, ANNOTATED = (BASELINE, "TL", "all"), (0, 10, 20)
NETWORK = ("--recipe", "tiny", "--network", "resnet18", "--batch-size", "4", "--loader-workers", "0")
CROPS = {"synth": "96x192", "camvid": "128x160"}
FREQUENT = 0.005  # of the annotated pixels: TC moves by points with classes that are seldom found


def synthetic_street(root: Path) -> None:
    for split, snippets, around in (("val", 24, 4), ("train", 40, 9)):
        if not (root / "gtFine" / split).exists():
            write_dataset(root, split=split, num_snippets=snippets, size=(192, 384), length=30, around=around, seed=11)


class Bench:
    """The runs of one data set, in a folder of their own."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.name, self.teacher, self.steps = arguments.data_set, arguments.teacher.resolve(), arguments.steps
        self.start_steps = arguments.start_steps
        self.work = arguments.work.resolve() / f"{arguments.data_set}-{self.start_steps}-{self.steps}"
        self.root = self.work / "data"
        self._layout = ("cityscapes" if self.name == "synth" else "folder", DatasetOptions(root=self.root, split="val"))
        self.work.mkdir(parents=True, exist_ok=True)
        self.results = Results(self.work / "results.jsonl")

    def prepare(self, data: Path, stores: Sequence[str]) -> None:
        """The data set, and the stores that some of the runs train on."""
        if self.name == "synth":
            synthetic_street(self.root)
        else:
            camvid_stretch(self.root, data, ANNOTATED)
        frames = ("--root", str(self.root), "--split", "train")
        if PROPAGATED in stores:
            reach = ("--frames", str(NEIGHBOURS), "--engine", "local")
            call("propagate", "run", *frames, *reach, "--out", str(self.work / PROPAGATED))
        if PSEUDO in stores:
            limits = ("--frames", "9", "--scales", "0.75,1,1.25", "--threshold", "0.5", "--engine", "local")
            call("segtrain", "pseudo", str(self.teacher), *frames, *limits, "--out", str(self.work / PSEUDO))

    def start(self, seed: int) -> None:
        """The student that every run of a seed begins with."""
        if not self._weights(seed).exists():
            self._fit(f"start-{seed}", seed, self.start_steps, ("--learning-rate", "0.002"))

    def run(self, rival: str, seed: int) -> None:
        """Train, score, and add a line, unless it is there."""
        if any((line["rival"], line["seed"]) == (rival, seed) for line in self.results.lines()):
            return
        parts = RIVALS[rival]
        options = ["--weights", str(self._weights(seed)), "--learning-rate", "0.001", *parts.get("options", ())]
        if "--distill-frame" in options:
            options += ["--teacher", str(self.teacher)]
        stores = parts.get("stores", ())
        for store in stores:
            options += ["--shards", str(self.work / store)]
        if PSEUDO in stores:
            options += ["--pseudo", "0.5" if len(stores) == 1 else "0.33"]
        if PROPAGATED in stores:
            options += ["--propagated", "0.5" if len(stores) == 1 else "0.33"]
        name = f"{rival.replace(' ', '-')}-{seed}"
        seconds = self._fit(name, seed, self.steps, options)
        scores = self._evaluate(self.work / name / "last.safetensors")
        self.results.add({"rival": rival, "seed": seed, "steps": self.steps, "seconds": seconds, **scores})

    def _weights(self, seed: int) -> Path:
        return self.work / f"start-{seed}" / "last.safetensors"

    def _fit(self, name: str, seed: int, steps: int, options: Sequence[str]) -> float:
        """Seconds of the training itself. Its log says them too."""
        data = ("--root", str(self.root), "--train-split", "train")
        length = ("--epochs", "1", "--epoch-length", str(4 * steps), "--crop", CROPS[self.name], "--seed", str(seed))
        unseen = ("--max-val-images", "1")  # the last network counts, and is scored afterwards
        call("segtrain", "fit", *NETWORK, *data, *length, *unseen, *options, "--out", str(self.work / name))
        rates = [json.loads(line) for line in (self.work / name / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        return 4 * steps / statistics.mean(line["samples_per_second"] for line in rates if "samples_per_second" in line)

    def _evaluate(self, weights: Path) -> dict[str, float]:
        around = ("--temporal", "--before", "3")
        out = call("segtrain", "evaluate", str(weights), "--root", str(self.root), *around, "--json")
        report = json.loads(out)
        temporal = report["temporal"]
        of_classes = [temporal["classes"][name]["tc"] or 0.0 for name in self.frequent]
        scores = {"miou": report["miou"], "tc": temporal["tc"], "same": temporal["same"]}
        return {**scores, "tc_frequent": statistics.mean(of_classes), "floor": temporal["floor"]}

    @cached_property
    def frequent(self) -> list[str]:
        """The classes that hold a share of the annotated pixels that are scored."""
        frames = open_labelled_frames(*self._layout)
        names = frames.classes.train_names
        labels = (frames.read(number).label.ravel() for number in range(len(frames.records)))
        counts = np.sum([np.bincount(label, minlength=256)[: len(names)] for label in labels], axis=0)
        return [name for name, share in zip(names, counts / counts.sum(), strict=True) if share >= FREQUENT]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, in percent, and the differences to the baseline of the same seed with their standard error."""
    by_seed = {(line["rival"], line["seed"]): line for line in lines}
    heads = ["", "seeds", *(f"{name} | to the baseline" for name in MEASURES.values()), "s a step"]
    rows = [f"| {' | '.join(heads)} |", "|---|" + (2 + 2 * len(MEASURES)) * "--:|"]
    for rival in RIVALS:
        runs = [line for line in lines if line["rival"] == rival]
        if not runs:
            continue
        cells = [rival, str(len(runs))]
        for measure in MEASURES:
            cells.append(f"{100 * statistics.mean(run[measure] for run in runs):.2f}")
            paired = [
                100 * (run[measure] - by_seed[BASELINE, run["seed"]][measure])
                for run in runs
                if (BASELINE, run["seed"]) in by_seed
            ]
            cells.append("–" if rival == BASELINE or not paired else with_error(paired))
        cells.append(f"{statistics.mean(run['seconds'] / run['steps'] for run in runs):.2f}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_set", choices=tuple(CROPS))
    parser.add_argument("work", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--start-steps", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rivals", nargs="*", choices=tuple(RIVALS), help="these alone")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    bench = Bench(arguments)
    rivals = arguments.rivals or (tuple(RIVALS) if arguments.data_set == "synth" else OF_CAMVID)
    bench.prepare(arguments.data, [store for rival in rivals for store in RIVALS[rival].get("stores", ())])
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(bench.start, range(arguments.seeds)))
        runs = [(rival, seed) for seed in range(arguments.seeds) for rival in rivals]
        list(pool.map(lambda run: bench.run(*run), runs))
    print(table(bench.results.lines()))


if __name__ == "__main__":
    main()
