"""The class index of a store: from its statistics, against a pass over all its label maps, in one run.

python benchmarks/class_index.py [--samples 500] [--size 512x1024] [--tile 1024] [--rounds 3]

Label maps are whole, in shards of 80 samples, and so are their statistics: those of eight rendered streets, shifted
sideways by another amount for every sample. The frames are of a single pixel each, for speed: neither way reads them.
The files were just written, so that both ways find them in memory, not on a disk.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, Sample
from propagate.shards.manifest import Manifest, PlannedClip, ShardEntry, ShardPlan, save_manifest
from propagate.shards.reader import Store, open_store
from propagate.shards.writer import ShardWriter
from propagate.synth.render import Renderer
from propagate.synth.street import build_scene
from segtrain.data.centroids import TileGrid, centroids_of_label_map
from segtrain.data.class_statistics import ClassStatistics
from segtrain.data.index import ClassIndex, index_store
from segtrain.data.sampling import Sampling, build_epoch

CLASSES = load_classes("cityscapes")
NUM_STREETS = 8
PER_SHARD = 80
PIXEL = encode_png(np.zeros((1, 1, 3), np.uint8))


def samples(size: tuple[int, int], num_samples: int) -> Iterator[Sample]:
    streets = [
        Renderer(build_scene(np.random.default_rng(seed), 1), size).render(0).labels for seed in range(NUM_STREETS)
    ]
    confidence = np.full(size, CONFIDENCE_LEVELS - 1, np.uint8)
    for number in range(num_samples):
        yield Sample(
            key=f"street_{number:06d}",
            source_key=f"street_{number:06d}",
            group="street",
            offset=0,
            pairing="label",
            origin=ANNOTATED,
            image=PIXEL,
            label=np.roll(streets[number % NUM_STREETS], 37 * number, axis=1),
            confidence=confidence,
            reason=np.zeros(size, np.uint8),
        )


def write_store(path: Path, size: tuple[int, int], num_samples: int) -> Store:
    clips = [PlannedClip(key=f"street_{number:06d}", inputs="", before=0, after=0) for number in range(num_samples)]
    plan = tuple(
        ShardPlan(index=index, size=size, clips=tuple(clips[start : start + PER_SHARD]))
        for index, start in enumerate(range(0, num_samples, PER_SHARD))
    )
    manifest = Manifest(dataset="cityscapes", split="train", settings={}, versions={}, classes=CLASSES, plan=plan)
    source = samples(size, num_samples)
    for each in plan:
        with ShardWriter(path / each.name, size, "encoded", manifest.place(each.index)) as writer:
            for sample in islice(source, PER_SHARD):
                writer.add(sample)
            manifest.shards[each.index] = ShardEntry(name=each.name, **asdict(writer.finish()), failures=())
    save_manifest(path, manifest)
    return open_store(path)


def index_by_label_maps(store: Store, tile: int) -> ClassIndex:
    """As without statistics: every label map is unpacked and counted."""
    records, parts = [], []
    for shard in store.shards():
        for number, record in enumerate(shard.records):
            label = shard.array("label")[number]
            parts.append(
                centroids_of_label_map(label, CLASSES.train_id_of, TileGrid(label.shape[0], label.shape[1], tile))
            )
            records.append(record)
    return ClassIndex.of(records, CLASSES, parts)


def require_same(a: ClassIndex, b: ClassIndex) -> None:
    for name, column in vars(a.centroids).items():
        np.testing.assert_array_equal(getattr(b.centroids, name), column)


def seconds(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """The best round of each, taken in turns."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for index, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            best[index] = min(best[index], time.perf_counter() - begin)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder), (height, width), args.samples)
        num_rows = sum(len(shard.array("cells/cell")) for shard in store.shards())
        index = index_store(store, args.tile)
        require_same(index, index_by_label_maps(store, args.tile))
        from_store, from_labels, epoch = seconds(
            [
                lambda: ClassStatistics.of(index_store(open_store(folder), args.tile)),
                lambda: index_by_label_maps(store, args.tile),
                lambda: build_epoch(index, Sampling(), seed=0, epoch=0),
            ],
            args.rounds,
        )
    print(f"{args.samples} samples of {args.size} in tiles of {args.tile}: {num_rows:,} rows of statistics")
    print(f"{len(index.centroids):,} centroids, the same both ways")
    print(f"from the statistics  {from_store:8.3f} s")
    print(f"from the label maps  {from_labels:8.3f} s   {from_labels / from_store:.0f} times as long")
    print(f"an epoch drawn       {epoch:8.3f} s")


if __name__ == "__main__":
    main()
