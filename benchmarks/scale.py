"""At the size of Cityscapes, with tiny frames: what planning, resuming, reading and training cost before any work.

python benchmarks/scale.py [--snippets 2975] [--keep DIR] [--data ../shared/data]

2,975 snippets of 30 frames, as files and as one zip file beside val and test, 170,000 members, every frame the same
PNG of 32x64. A run without motion makes 32,725 samples of them; it is killed at one half, and goes on. What a trainer
reads is another store, since the statistics that it indexes grow with the frames: label maps of a rendered street of
1024x2048, frames of one colour; its shards are copies of one, under the names and in the places of the others. What a
store of real frames weighs is taken from those in DATA/cityscapes_clip, if they are there.

Every figure is a process of its own, from its start, imports included: seconds by the clock and of the processor, and
the most memory that it had resident. The files were just written, so that they are in memory, not on a disk.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.data.sample import ANNOTATED, PROPAGATED, Sample
from propagate.shards.manifest import Manifest, PlannedClip, ShardEntry, ShardPlan, load_manifest, save_manifest
from propagate.shards.reader import open_store
from propagate.shards.schema import encode_key
from propagate.shards.writer import ShardWriter

CITIES = {
    "train": (
        *("aachen", "bochum", "bremen", "cologne", "darmstadt", "dusseldorf", "erfurt", "hamburg", "hanover"),
        *("jena", "krefeld", "monchengladbach", "strasbourg", "stuttgart", "tubingen", "ulm", "weimar", "zurich"),
    ),
    "val": ("frankfurt", "lindau", "munster"),
    "test": ("berlin", "bielefeld", "bonn", "leverkusen", "mainz", "munich"),
}
OTHER_SNIPPETS = {"val": 500, "test": 1525}
LABEL_ENDINGS = ("color.png", "instanceIds.png", "labelIds.png", "polygons.json")
NUM_FRAMES, ANNOTATED_FRAME, REACH, CLIPS_PER_SHARD = 30, 19, 5, 16
OFFSETS = (0, *range(1, REACH + 1), *range(-1, -REACH - 1, -1))
TINY, FULL = (32, 64), (1024, 2048)
PAPER_SAMPLES = 2975 * len(OFFSETS)
PARTS = {"images": "image/data", "labels": "label", "confidence": "confidence", "reasons": "reason"}  # and their arrays


@dataclass(frozen=True)
class Measured:
    """One process: seconds by the clock, of the processor, and the most MB resident; what it printed."""

    wall: float
    cpu: float
    peak: float
    output: str


def measured(*arguments: object) -> Measured:
    """A process from start to end; its children's seconds count, their memory does not. Exit code 1 is well."""
    begin = time.perf_counter()
    with subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"{arguments}: ended with {process.returncode}")
    return Measured(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, output)


def propagate(*arguments: object) -> Measured:
    return measured(sys.executable, "-m", "propagate", *arguments)


def members(split: str, num_snippets: int) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of a split's files: 30 frames a snippet, and four files of labels, of which one is read."""
    random = np.random.default_rng(0)
    image = encode_png(random.integers(0, 256, (*TINY, 3), np.uint8))
    patches = random.choice([c.id for c in load_classes("cityscapes").classes if c.train_id != 255], (4, 8))
    label = encode_png(np.kron(patches, np.ones((8, 8))).astype(np.uint8))
    for key in keys(split, num_snippets):
        city, sequence, _ = key.split("_")
        for frame in range(NUM_FRAMES):
            yield f"leftImg8bit_sequence/{split}/{city}/{city}_{sequence}_{frame:06d}_leftImg8bit.png", image
        for ending in LABEL_ENDINGS:
            yield f"gtFine/{split}/{city}/{key}_gtFine_{ending}", label


def keys(split: str, num_snippets: int) -> list[str]:
    """Of the annotated frames, as many of each city."""
    cities = CITIES[split]
    return sorted(
        f"{cities[number % len(cities)]}_{number // len(cities):06d}_{ANNOTATED_FRAME:06d}"
        for number in range(num_snippets)
    )


def write_folders(root: str, num_snippets: str) -> None:
    for name, data in members("train", int(num_snippets)):
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_zip(root: str, num_snippets: str) -> None:
    """The same as one zip file, beside what there is of val and test in the real ones."""
    Path(root).mkdir()
    with ZipFile(f"{root}/leftImg8bit_and_gtFine.zip", "w") as archive:
        for split, number in {"train": int(num_snippets), **OTHER_SNIPPETS}.items():
            for name, data in members(split, number):
                archive.writestr(name, data)


def config_of(root: Path, out: Path) -> Any:
    from propagate.datasets.base import DatasetOptions
    from propagate.job.config import RunConfig
    from sdcnet.motion.registry import MotionSettings

    options, motion = DatasetOptions(root=root), MotionSettings(name="none")
    return RunConfig(
        options=options, out=out, frames=REACH, motion=motion, clips_per_shard=CLIPS_PER_SHARD, engine="local"
    )


def make_the_plan(root: str) -> None:
    """The plan alone: what data set there is, its clips, and which goes into which shard."""
    from propagate.datasets.base import DatasetOptions
    from propagate.datasets.registry import open_dataset
    from propagate.job.plan import make_plan

    make_plan(open_dataset("cityscapes", DatasetOptions(root=Path(root))).clips(REACH), CLIPS_PER_SHARD)


def import_only(root: str) -> None:
    """What `propagate run` is before it looks at the data set: its imports, PyTorch among them."""
    import propagate.job.run  # noqa: F401

    config_of(Path(root), Path("out"))


def enough(_: int) -> None:
    raise SystemExit


def run_until_planned(root: str, out: str) -> None:
    """`propagate run` up to the plan, which a new store has then in its manifest."""
    from propagate.job.run import run

    run(config_of(Path(root), Path(out)), on_plan=enough)


def run_until_the_first_sample(root: str, out: str) -> None:
    """`propagate run` up to its first sample, without entering it."""
    from propagate.job.run import run

    run(config_of(Path(root), Path(out)), on_progress=enough)


def train_until(stage: str, store: str) -> None:
    """What `segtrain fit` does with a store: opens it, indexes it, plans an epoch, reads a batch with two processes."""
    from segtrain.config import FitConfig
    from segtrain.data.batches import load_batches
    from segtrain.data.sampling import build_epoch
    from segtrain.fit.labelled import augmentation_of
    from segtrain.fit.recipes import load_recipe
    from segtrain.fit.sources import described, open_sampling, open_sources

    config = FitConfig(**{**load_recipe("cityscapes-wrn38"), "out": Path("run"), "shards": (Path(store),)})
    training, _ = open_sources(config)
    described(config, training, None)
    if stage == "opened":
        return
    index = training.index(config.class_uniform_tile)
    epoch = build_epoch(index, open_sampling(config, training.classes), seed=config.seed, epoch=0)
    if stage == "planned":
        return
    batches = [range(config.batch_size)]
    workers = config.loader_workers
    next(load_batches(training, epoch, augmentation_of(config), batches, num_workers=workers, pinned=False))


def kill_at_half(root: Path, out: Path) -> None:
    """A run that is killed as soon as half of its shards are in the manifest."""
    options = ("--root", root, "--out", out, "--motion", "none", "--engine", "local")
    command = [sys.executable, "-m", "propagate", "run", *map(str, options)]
    with subprocess.Popen(command) as process:
        try:
            while not is_half(out):
                if process.poll() is not None:
                    raise SystemExit(f"{out}: the run ended before it was killed, with {process.returncode}")
                time.sleep(2)
        finally:
            process.send_signal(signal.SIGKILL)


def is_half(out: Path) -> bool:
    if not (out / "manifest.json").exists():
        return False
    manifest = load_manifest(out)
    return 2 * len(manifest.shards) >= len(manifest.plan)


def copy_shard(template: Path, path: Path, number: int, clips: tuple[PlannedClip, ...]) -> None:
    """A shard in another's place, with the names of its clips."""
    shutil.copyfile(template, path)
    with h5py.File(path, "r+") as file:
        file.attrs["shard_index"] = number
        names = [encode_key(clip.key) for clip in clips for _ in OFFSETS]
        file["source_key"][:] = names
        file["key"][:] = [
            encode_key(f"{clip.key[:-6]}{ANNOTATED_FRAME + offset:06d}") for clip in clips for offset in OFFSETS
        ]


def write_full_store(path: str, num_snippets: str) -> None:
    """A store of 1024x2048 whose shards are copies, under other names, of the first with as many clips."""
    from propagate.synth.render import Renderer
    from propagate.synth.street import build_scene

    out = Path(path)
    out.mkdir()
    street = Renderer(build_scene(np.random.default_rng(0), 1), FULL).render(0).labels
    image = encode_png(np.full((*FULL, 3), 128, np.uint8))
    confidence = np.full(FULL, 15, np.uint8)
    planned = [PlannedClip(key=key, inputs="", before=REACH, after=REACH) for key in keys("train", int(num_snippets))]
    plan = tuple(
        ShardPlan(index=number, size=FULL, clips=tuple(planned[start : start + CLIPS_PER_SHARD]))
        for number, start in enumerate(range(0, len(planned), CLIPS_PER_SHARD))
    )
    about: dict[str, Any] = {"dataset": "cityscapes", "split": "train", "settings": {"frames": REACH}, "versions": {}}
    manifest = Manifest(**about, classes=load_classes("cityscapes"), plan=plan)
    templates: dict[int, ShardEntry] = {}
    for each in plan:
        place = manifest.place(each.index)
        if len(each.clips) in templates:
            template = templates[len(each.clips)]
            copy_shard(out / str(template.name), out / each.name, each.index, each.clips)
            size = (out / each.name).stat().st_size
            manifest.shards[each.index] = replace(template, name=each.name, bytes=size)
            continue
        with ShardWriter(out / each.name, FULL, "encoded", place) as writer:
            for number, (clip, offset) in enumerate((clip, offset) for clip in each.clips for offset in OFFSETS):
                writer.add(
                    Sample(
                        key=f"{clip.key[:-6]}{ANNOTATED_FRAME + offset:06d}",
                        source_key=clip.key,
                        group=clip.key.partition("_")[0],
                        offset=offset,
                        pairing="label",
                        origin=PROPAGATED if offset else ANNOTATED,
                        image=image,
                        label=np.roll(street, 37 * number, axis=1),
                        confidence=confidence,
                        reason=np.zeros(FULL, np.uint8),
                    )
                )
            entry = ShardEntry(name=each.name, **asdict(writer.finish()), failures=())
        manifest.shards[each.index] = templates[len(each.clips)] = entry
    save_manifest(out, manifest)


STAGES: dict[str, Callable[..., None]] = {
    "write_folders": write_folders,
    "write_zip": write_zip,
    "write_full_store": write_full_store,
    "make_the_plan": make_the_plan,
    "import_only": import_only,
    "run_until_planned": run_until_planned,
    "run_until_the_first_sample": run_until_the_first_sample,
    "train_until": train_until,
}


def stage(name: str, *arguments: object) -> Measured:
    """One of STAGES in a process of its own.

    Also what only writes: a process counts as its own peak what the one that started it has resident at that moment.
    """
    return measured(sys.executable, __file__, "--stage", name, *arguments)


def made(path: Path, make: Callable[[Path], object]) -> Path:
    """What is there already, or is made now, whole or not at all."""
    if not path.exists():
        partial_path = path.with_name(f"{path.name}.partial")
        shutil.rmtree(partial_path, ignore_errors=True)
        make(partial_path)
        partial_path.rename(path)
    return path


def resume_copy(root: Path, half: Path, out: Path) -> None:
    shutil.copytree(half, out)
    propagate("run", "--root", root, "--out", out, "--motion", "none", "--engine", "local")


def print_weights(data: Path) -> None:
    """What 32,725 samples of real frames weigh, from those of two snippets; raw images are not packed."""
    with tempfile.TemporaryDirectory() as folder:
        propagate("run", "--root", data / "cityscapes_clip", "--out", f"{folder}/store", "--engine", "local")
        store = open_store(f"{folder}/store")
        parts = dict.fromkeys((*PARTS, "all"), 0)
        annotated: list[int] = []
        num_samples = 0
        for shard in store.shards():
            for part, name in PARTS.items():
                parts[part] += shard.array(name).id.get_storage_size()
            parts["all"] += shard.path.stat().st_size
            annotated += [
                len(shard.image(index)) for index, record in enumerate(shard.records) if record.origin == ANNOTATED
            ]
            num_samples += len(shard)
    each = {part: size / num_samples for part, size in parts.items()}
    each["rest"] = each.pop("all") - sum(each[part] for part in PARTS)
    images = {"encoded": float(np.mean(annotated)), "raw": 3.0 * np.prod(FULL)}
    print(
        f"\n{num_samples} samples of two real snippets, with DIS. Their neighbours went through JPEG once, "
        f"{each['images'] / 1e6:.2f} MB an image: encoded images are taken to weigh what the annotated frames do.\n"
    )
    print(f"| {PAPER_SAMPLES:,} samples | images | labels | confidence | reasons | the rest | GB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for form, image in images.items():
        others = (each[part] for part in ("labels", "confidence", "reasons", "rest"))
        sizes = [size * PAPER_SAMPLES / 1e9 for size in (image, *others)]
        print(f"| {form} | {' | '.join(f'{size:.1f}' for size in (*sizes, sum(sizes)))} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--snippets", type=int, default=2975)
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave there what it takes")
    data = Path(os.environ.get("PROPAGATE_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="a store of its real frames is weighed, if it is there")
    parser.add_argument("--stage", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        name, *rest = arguments.stage
        STAGES[name](*rest)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).absolute()
        folder.mkdir(exist_ok=True)
        snippets = arguments.snippets
        folders = made(folder / "folders", lambda path: stage("write_folders", path, snippets))
        zipped = made(folder / "zip", lambda path: stage("write_zip", path, snippets))
        half = made(folder / "half", partial(kill_at_half, zipped))
        store = made(folder / "store", partial(resume_copy, zipped, half))
        full = made(folder / "full", lambda path: stage("write_full_store", path, snippets))
        again = ("run", "--root", zipped, "--out", store, "--motion", "none", "--engine", "local")
        rows = {
            ("the plan, from files", ""): stage("make_the_plan", folders),
            ("the plan, from the zip file", "10 s, 300 MB"): stage("make_the_plan", zipped),
            ("`propagate run`: imports alone", ""): stage("import_only", zipped),
            ("`propagate run`, new, until it is planned, from the zip file", "10 s"): stage(
                "run_until_planned", zipped, Path(temporary) / "new"
            ),
            ("`propagate run` with nothing to do", "15 s"): propagate(*again),
            ("`propagate run`, killed at one half, until its next sample", "15 s"): stage(
                "run_until_the_first_sample", zipped, half
            ),
            ("`propagate info`", "1 s"): propagate("info", store),
            ("`propagate verify`", ""): propagate("verify", store),
            ("`segtrain fit`: the store opened", ""): stage("train_until", "opened", full),
            ("… and the first epoch planned", ""): stage("train_until", "planned", full),
            ("… and the first batch read", "10 s"): stage("train_until", "batch", full),
        }
        samples = load_manifest(store).num_samples
        size = sum(entry.bytes for entry in load_manifest(store).entries())
    print(
        f"{snippets:,} snippets, {samples:,} samples, {size / 1e6:.0f} MB of tiny frames; each a process of its own\n"
    )
    print("| | goal | s | s of the processor | peak MB |")
    print("|---|---:|---:|---:|---:|")
    for (name, goal), found in rows.items():
        print(f"| {name} | {goal} | {found.wall:.1f} | {found.cpu:.1f} | {found.peak:.0f} |")
    if (arguments.data / "cityscapes_clip").is_dir():
        print_weights(arguments.data)


if __name__ == "__main__":
    main()
