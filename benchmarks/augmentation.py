"""Does training gain from propagated samples, and from which? As many steps on annotated frames alone and with others.

python benchmarks/augmentation.py synth WORK --resume results.jsonl [--minutes 100] [--jobs 2] [--seeds 5]
python benchmarks/augmentation.py synth WORK --resume results.jsonl --every 3 --steps 2700
python benchmarks/augmentation.py camvid WORK --resume results.jsonl --labels 3 [--data ../shared/data]

Streets: networks begin anew; unseen streets are scored, in the seven categories of Cityscapes. With --every 3 what is
trained on is every third frame of longer drives, as of a slower camera or a faster car. CamVid: labels of 3 or 5
frames in 21; networks begin with what they have learnt of other streets, and a later stretch is scored. The annotated
frames of a sequence are ten apart or nearer, so that some lie between two. How much could be gained at all is what true
labels of the same frames gain.

Every finished run is a line of the file of --resume, which says all that decides it; the same command goes on with what
is missing, begins none that would end after --minutes, and prints what there is: means, and the differences to
annotated frames alone of the same seed, with their standard error. A run is commands in processes of one thread; with
`--jobs 2` there are two at a time. WORK holds data, stores and trainings, and may be removed.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import yaml
from trainings import FIRST_SCORED, NUM_SEEN, Results, call, camvid_stretch, link, with_error, write_layout

from jobs.console.tables import Table
from propagate.data.classes import load_classes
from propagate.synth.write import write_dataset

FRAMES = 5
STORES: Mapping[str, tuple[str, ...]] = {
    "one-sided": ("--one-sided",),
    "fused": (),
    "joint": ("--pairing", "joint"),  # predicted frames, whose labels moved as their pixels did
    "stepwise": ("--resample", "recursive"),  # as published: labels of each step from the one before
}
CORRECTED = "corrected"  # by a corrector that learns from the same annotated frames
REFINED, REFINE = "refined", ("--scales", "0.75,1,1.25")  # fused ones, by the network that was trained on them
REFINED_SURE = "refined-sure"  # … of which no more is kept than what both are sure of
ALONE, FUSED = "annotated alone", "fused from two sides"
EVERY = "every"  # a split: the frames of train, annotated also where labels are carried to


@dataclass(frozen=True)
class Variant:
    """What a training goes on beside its regime.

    store: of STORES, corrected, or refined by the network of FUSED; None: annotated frames. parts: of so many equal
    ones, the last goes on annotated frames alone.
    """

    store: str | None = None
    options: tuple[str, ...] = ()
    parts: int = 1

    @property
    def all_options(self) -> tuple[str, ...]:
        last = ("--epochs", str(self.parts), "--propagated-until", str(self.parts - 2))  # epochs count from 0
        return self.options + last * (self.parts > 1)


RELAXED, WEIGHED = ("--loss", "relaxed"), ("--weigh-by-confidence",)
DOUBT: Mapping[str | None, float] = {REFINED: 0.5, REFINED_SURE: 0.8}  # below it, a pixel is ignored
VARIANTS: Mapping[str, Variant] = {
    ALONE: Variant(),
    "±5": Variant("one-sided"),
    "±5, weighed by confidence": Variant("one-sided", WEIGHED),
    FUSED: Variant("fused"),
    "true labels of the frames of ±5": Variant(options=("--train-split", EVERY)),
    "refined by the network": Variant(REFINED),
    "±1": Variant("one-sided", ("--max-offset", "1")),
    "±3": Variant("one-sided", ("--max-offset", "3")),
    "±5, relaxed": Variant("one-sided", RELAXED),
    "±5, predicted frames": Variant("joint"),
    "±5, corrected": Variant(CORRECTED),
    "fused, weighed by confidence": Variant("fused", WEIGHED),
    "refined, what is sure": Variant(REFINED_SURE, WEIGHED),
    "annotated alone, relaxed": Variant(options=RELAXED),
    "±1, relaxed": Variant("one-sided", ("--max-offset", "1", *RELAXED)),
    "±3, relaxed": Variant("one-sided", ("--max-offset", "3", *RELAXED)),
    "±5, stepwise": Variant("stepwise"),
    "±5, stepwise, relaxed": Variant("stepwise", RELAXED),
    "±5, annotated alone at last": Variant("one-sided", parts=3),
    "fused, annotated alone at last": Variant("fused", parts=3),
    "±5, relaxed at first, annotated alone at last": Variant("one-sided", (*RELAXED, "--relax-until", "1"), parts=3),
}
NUM_FIRST, SEEDS_OF_OTHERS = 6, 3
AS_RELAXED = ", relaxed"  # how the names of variants with relaxed labels end
MEASURES = ("miou", "boundary")

CATEGORIES = (
    ("road", "sidewalk"),
    ("building", "wall", "fence"),
    ("pole", "traffic light", "traffic sign"),
    ("vegetation", "terrain"),
    ("sky",),
    ("person", "rider"),
    ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
STREETS: Mapping[str, Any] = {"size": (128, 256), "length": 30, "seed": 1}
SNIPPETS = {"train": 2, "val": 24}
ANNOTATED = (14, 24)  # of the frames 0…29
LAST_ANNOTATED = 20  # of CamVid's
LEARNT: Mapping[str, Any] = {"size": (192, 384), "num_snippets": 120, "around": 0, "seed": 3}  # other streets
BATCH = 4


@dataclass(frozen=True)
class Regime:
    """How the networks of a data set are trained. steps: unless told otherwise. steps_before: on other streets."""

    steps: int
    crop: str
    rate: float
    steps_before: int = 0


NETWORK, STRIDE = "lateral-mobilenetv2", 32
RATE = 0.006  # of networks that begin anew
REGIMES = {
    "synth": Regime(8100, "64x128", RATE),
    "camvid": Regime(800, "128x160", 0.003, steps_before=3000),
}


def streets(root: Path, every: int) -> None:
    """Two annotated frames of each snippet that is trained on, and one of each that is scored.

    every: of a snippet that is trained on, every so many-th frame is there, by its number among these.
    """
    street = root / "street"
    longer = {**STREETS, "length": every * STREETS["length"]}
    write_dataset(street, split="train", num_snippets=SNIPPETS["train"], **longer)
    write_dataset(street, split="val", num_snippets=SNIPPETS["val"], around=0, **STREETS)
    for truth in sorted((street / "truth").rglob("*_gtFine_labelIds.png")):
        split, city = truth.parts[-3:-1]
        rendered = truth.name.removesuffix("_gtFine_labelIds.png")
        number, rest = divmod(int(rendered[-6:]), every if split == "train" else 1)
        if rest:
            continue
        frame, label = (f"{rendered[:-6]}{number:06d}_{kind}.png" for kind in ("leftImg8bit", "gtFine_labelIds"))
        image = street / "leftImg8bit_sequence" / split / city / f"{rendered}_leftImg8bit.png"
        link(root / "frames" / split / city / frame, image)
        if split == "val" or number in ANNOTATED:
            link(root / "labels" / split / label, truth)
        if split == "train" and is_reached(number, ANNOTATED):
            link(root / "labels" / EVERY / label, truth)
    link(root / "frames" / EVERY, root / "frames" / "train")
    table = load_classes("cityscapes").to_json()
    of_name = {name: number for number, names in enumerate(CATEGORIES) for name in names}
    classes = [{**each, "train_id": of_name.get(each["name"], 255)} for each in table["classes"]]
    text = yaml.safe_dump({**table, "name": "categories", "classes": classes}, sort_keys=False)
    (root / "categories.yaml").write_text(text, encoding="utf-8")
    write_layout(
        root,
        "frames/{split}/*/{sequence}_{frame}_leftImg8bit.png",
        "labels/{split}/{sequence}_{frame}_gtFine_labelIds.png",
        "categories.yaml",
    )


def camvid(root: Path, data: Path, annotated: Sequence[int]) -> None:
    link(root / "frames" / EVERY, root / "frames" / "train")
    for number, truth in enumerate(sorted((data.resolve() / "camvid_15hz" / "truth").iterdir())[:NUM_SEEN]):
        if is_reached(number, annotated):
            link(root / "labels" / EVERY / f"train_{number:04d}.png", truth)
    camvid_stretch(root, data, annotated)


def is_reached(number: int, annotated: Sequence[int]) -> bool:
    return any(abs(number - other) <= FRAMES for other in annotated)


def camvid_labels(num_labels: int) -> list[int]:
    return [number * LAST_ANNOTATED // (num_labels - 1) for number in range(num_labels)]


class Bench:
    """The runs of one data set, in a folder of their own."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        name, labels, every = arguments.data_set, arguments.labels, arguments.every
        self.name = f"{name}-{labels}" if name == "camvid" else f"{name}-{every}" if every > 1 else name
        self.work = arguments.work.resolve() / self.name
        self.root, self.results = self.work / "data", Results(arguments.resume.resolve())
        self.regime = REGIMES[name]
        self.steps = arguments.steps or self.regime.steps
        network, stride = arguments.network or NETWORK, arguments.output_stride if arguments.network else STRIDE
        self.options: tuple[object, ...] = ("--recipe", "tiny", "--loader-workers", 0, "--epochs", 1)
        self.options += ("--batch-size", BATCH)
        self.options += ("--network", network, "--output-stride", stride, "--crop", self.regime.crop)
        self.before = arguments.work.resolve() / f"before-{network}"
        self.data = {**STREETS, "snippets": SNIPPETS, "annotated": ANNOTATED, "classes": CATEGORIES}
        if every > 1:
            self.data["every"] = every
        if name == "camvid":
            self.data = {"annotated": camvid_labels(labels), "first_scored": FIRST_SCORED}
        self._arguments = arguments
        self._training: dict[str, Lock] = defaultdict(Lock)
        self._until = time.monotonic() + 60 * arguments.minutes

    def prepare(self, variants: Sequence[str]) -> None:
        """The data set and the stores, whole or not at all."""
        if not (self.root / "layout.yaml").exists():
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir(parents=True)
            if self._arguments.data_set == "synth":
                streets(self.root, self._arguments.every)
            else:
                camvid(self.root, self._arguments.data, camvid_labels(self._arguments.labels))
        if self.regime.steps_before:
            self._learn_before()
        where = ("--root", self.root, "--split", "train", "--frames", FRAMES)
        stores = {store for name in variants if (store := VARIANTS[name].store) is not None}
        for store in {"fused" if each in DOUBT else each for each in stores}:
            options: tuple[object, ...] = STORES[self._made_as(store)]
            if store == CORRECTED:
                call("propagate", "fit-corrector", *where, "--crop", "96x160", "--out", self.work / "corrector")
                options += ("--corrector", self.work / "corrector" / "corrector.safetensors")
            call("propagate", "run", *where, *options, "--engine", "local", "--out", self.work / store)

    def _learn_before(self) -> None:
        """The network that every run begins with."""
        if (self.before / "last.safetensors").exists():
            return
        root = self.before.with_name("streets-before")
        shutil.rmtree(root, ignore_errors=True)
        write_dataset(root, **LEARNT)
        length = ("--epoch-length", BATCH * self.regime.steps_before, "--learning-rate", RATE, "--seed", 0)
        data = ("--root", root, "--train-split", "train", "--val-split", "none")
        call("segtrain", "fit", *self.options, *length, *data, "--out", self.before)

    def told(self, name: str, seed: int) -> dict[str, Any]:
        """All that decides a run, as JSON gives it back."""
        variant = VARIANTS[name]
        run = {
            "data": self.name,
            "data_settings": self.data,
            "variant": name,
            "seed": seed,
            "steps": self.steps,
            "rate": self.regime.rate,
            "before": {**LEARNT, "steps": self.regime.steps_before, "rate": RATE} if self.regime.steps_before else None,
            "store": variant.store and [*STORES[self._made_as(variant.store)], "--frames", FRAMES, variant.store],
            "options": [*self.options, *variant.all_options, *self._refining(variant)],
        }
        told: dict[str, Any] = json.loads(json.dumps(run))
        return told

    def _made_as(self, store: str) -> str:
        """As which of STORES its labels are carried."""
        return "one-sided" if store == CORRECTED else "fused" if store in DOUBT else store

    def _refining(self, variant: Variant) -> tuple[object, ...]:
        """The options of `segtrain refine`, if its labels are refined."""
        return (*REFINE, "--doubt", DOUBT[variant.store]) if variant.store in DOUBT else ()

    def run(self, name: str, seed: int) -> None:
        """Train, score, and add a line, unless it is there, or no time is left for what another seed took."""
        told, lines = self.told(name, seed), self.results.lines()
        longest = max((line["seconds"] for line in lines if {**line["run"], "seed": seed} == told), default=0)
        begin = time.monotonic()
        if begin + longest > self._until or any(line["run"] == told for line in lines):
            return
        weights = self._trained(name, seed)
        report = json.loads(call("segtrain", "evaluate", weights, "--root", self.root, "--json"))
        of_classes = {of: scores["iou"] for of, scores in report["classes"].items()}
        scores = {"miou": report["miou"], "boundary": report["trimap_miou"], "classes": of_classes}
        line = {"run": told, **scores, "seconds": round(time.monotonic() - begin, 1)}
        self.results.add(line)
        print(f"seed {seed}: {100 * report['miou']:.2f} {name}, {line['seconds']:.0f} s", file=sys.stderr, flush=True)

    def table(self, names: Sequence[str]) -> str:
        """Means in percent, and what is gained to annotated frames alone, in the mean of the pairs."""
        found = self._found(names)
        rows = []
        for name in names:
            runs = [line for (variant, _), line in found.items() if variant == name]
            if not runs:
                continue
            cells = [name, str(len(runs))]
            for measure in MEASURES:
                gains = gained(found, ALONE, name, measure)
                cells.append(f"{100 * statistics.mean(run[measure] for run in runs):.2f}")
                cells.append("–" if name == ALONE or not gains else with_error(gains))
            rows.append([*cells, f"{statistics.mean(run['seconds'] for run in runs):.0f}"])
        heads = ("", "seeds", "mIoU", "to alone", "boundary mIoU", "to alone", "s a run")
        return f"{self.name}, {self.steps} steps\n\n{Table(heads, rows).markdown()}"

    def relaxation(self, names: Sequence[str]) -> str:
        """What relaxed labels gain to plain ones, of the same samples and seeds; empty where there is no such pair."""
        found, rows = self._found(names), []
        for name in names:
            gains = [gained(found, name.removesuffix(AS_RELAXED), name, measure) for measure in MEASURES]
            if name.endswith(AS_RELAXED) and gains[0]:
                rows.append([name, str(len(gains[0])), *map(with_error, gains)])
        return Table(("", "pairs", "mIoU, to plain", "boundary mIoU, to plain"), rows).markdown() if rows else ""

    def _found(self, names: Sequence[str]) -> dict[tuple[str, int], dict[str, Any]]:
        """The finished runs, by variant and seed."""
        return {(line["run"]["variant"], line["run"]["seed"]): line for line in self._own(names)}

    def _own(self, names: Sequence[str]) -> list[dict[str, Any]]:
        lines = self.results.lines()
        return [line for line in lines if line["run"] in [self.told(each, line["run"]["seed"]) for each in names]]

    def _trained(self, name: str, seed: int) -> Path:
        """The weights of a run, which goes on where it was interrupted."""
        digest = sha256(json.dumps(self.told(name, seed)).encode()).hexdigest()[:12]
        out, variant = self.work / "runs" / digest, VARIANTS[name]
        data: tuple[object, ...] = ("--root", self.root)
        if variant.store in DOUBT:
            store = self.work / f"refined-{digest}"
            teacher = ("--weights", self._trained(FUSED, seed), *self._refining(variant), "--engine", "local")
            call("segtrain", "refine", self.work / "fused", *teacher, "--out", store)
            data += ("--shards", store)
        elif variant.store is not None:
            data += ("--shards", self.work / variant.store)
        if self.regime.steps_before:
            data += ("--weights", self.before / "last.safetensors", "--new-head")
        length: tuple[object, ...] = ("--epoch-length", BATCH * self.steps // variant.parts)
        length += ("--learning-rate", self.regime.rate, "--seed", seed)
        unseen = ("--max-val-images", 1)  # the last network is scored afterwards
        with self._training[digest]:  # the same network may teach two stores at a time
            call("segtrain", "fit", *self.options, *variant.all_options, *length, *unseen, *data, "--out", out)
        return out / "last.safetensors"


def gained(found: Mapping[tuple[str, int], Mapping[str, Any]], one: str, other: str, measure: str) -> list[float]:
    """By how much the other variant is better, in points, at each seed that both were run with."""
    seeds = [seed for variant, seed in found if variant == other and (one, seed) in found]
    return [100 * (found[other, seed][measure] - found[one, seed][measure]) for seed in seeds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_set", choices=tuple(REGIMES))
    parser.add_argument("work", type=Path)
    parser.add_argument("--resume", type=Path, required=True, help="the file of finished runs; it may not be there yet")
    parser.add_argument("--minutes", type=float, default=100, help="0: print what there is")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5, help="of the first six; others have up to three")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--steps", type=int, help="another length of training")
    parser.add_argument("--network", help="another network")
    parser.add_argument("--output-stride", type=int, default=16, help="of that network")
    parser.add_argument("--labels", type=int, default=3, help="of CamVid: how many frames are annotated")
    parser.add_argument("--every", type=int, default=1, help="of streets: train on every so many-th frame")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    bench = Bench(arguments)
    if arguments.minutes:
        bench.prepare(arguments.variants)
        first = [name for name in list(VARIANTS)[:NUM_FIRST] if name in arguments.variants]
        others = [name for name in arguments.variants if name not in first]
        runs = [(name, seed) for seed in range(arguments.seeds) for name in first]
        runs += [(name, seed) for seed in range(min(arguments.seeds, SEEDS_OF_OTHERS)) for name in others]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(bench.run, *zip(*runs, strict=True)))
    print(bench.table(arguments.variants))
    print(bench.relaxation(arguments.variants))


if __name__ == "__main__":
    main()
