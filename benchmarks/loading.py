"""Crops from shards, raw and encoded, against decoding the PNG files of the data set, with the same transforms.

python benchmarks/loading.py [--size 1024x2048] [--crop 720x720] [--frames 4] [--rounds 4]

One process, one thread, files in the page cache. Every loader draws the same crops, and their pixels are compared.
With T = 3, a sample is the annotated frame and the two beside it, which are read and transformed as well. A second
table has what a crop costs beyond that where its shard is not open yet, with the proofs of a reader and without.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from PIL import Image

from propagate.carry.sample_settings import SampleSettings
from propagate.datasets.base import DatasetOptions
from propagate.job.config import RunConfig
from propagate.job.run import run
from propagate.shards import opening
from propagate.shards.reader import Store, open_store
from propagate.shards.schema import IMAGE_FORMS
from propagate.synth.render import Renderer
from propagate.synth.sensor import draw_sensor
from propagate.synth.street import build_scene
from sdcnet.motion.registry import MotionSettings
from segtrain.data.batches import draw_crop
from segtrain.data.dataset import Pixels, SegmentationDataset, Window
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.sampling import Sampling, build_epoch
from segtrain.data.store_samples import open_store_samples
from segtrain.data.surroundings import NO_NEIGHBOURS, Surroundings
from segtrain.data.transforms import Augmentation

Size = tuple[int, int]
OFFSETS = (-1, 1)
PROOFS = ("_require_size", "_require_place", "_require_hard_link", "_require_stored_so", "_require_rows")
READ = {"encoded": ("label", "image/data", "image/start", "image/size"), "raw": ("label", "image/pixels")}  # for a crop


@dataclass(frozen=True)
class PlainFiles:
    """The files of a data set, decoded by nothing but Pillow or OpenCV: no checks, no windows."""

    frames: SegmentationDataset
    root: Path
    decode: Callable[[Path], np.ndarray]

    def size(self, number: int) -> Size:
        return self.frames.size(number)

    def read(self, number: int, window: Window) -> Pixels:
        key = self.frames.records[number].key
        image = self.decode(self.root / f"leftImg8bit/train/street/{key}_leftImg8bit.png")
        label = self.decode(self.root / f"gtFine/train/street/{key}_gtFine_labelIds.png")
        return Pixels(image[window.slices], self.frames.classes.train_id_of[label[window.slices]])


def by_pillow(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def by_opencv(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_frames(root: Path, size: Size, num_frames: int) -> None:
    """Frames of different streets and their labels, in the Cityscapes layout; PNG with the level that is usual, 6."""
    frames, labels = root / "leftImg8bit/train/street", root / "gtFine/train/street"
    for folder in (frames, labels):
        folder.mkdir(parents=True)
    for number in range(num_frames):
        random = np.random.default_rng(number)
        rendered = Renderer(build_scene(random, 1), size).render(0)
        sensor = draw_sensor(random, 1)
        for frame in (19, *(19 + offset for offset in OFFSETS)):  # one picture, with other noise
            image = sensor.expose(rendered.image, 0, random)
            Image.fromarray(image).save(frames / f"street_{number:06d}_{frame:06d}_leftImg8bit.png")
        Image.fromarray(rendered.labels).save(labels / f"street_{number:06d}_000019_gtFine_labelIds.png")


def write_store(root: Path, images: str, num_neighbours: int) -> Path:
    """The same frames as a store, with so many neighbours on either side."""
    out = root / f"{images}-{num_neighbours}"
    config = RunConfig(
        options=DatasetOptions(root=root),
        out=out,
        frames=num_neighbours,
        motion=MotionSettings(name="none"),
        sample_settings=SampleSettings(images=images),
        engine="local",
    )
    run(config)
    return out


def seconds_per_crop(loaders: Sequence[Callable[[int], object]], num_crops: int, rounds: int) -> np.ndarray:
    """[loaders] seconds of the processor: over all crops, the mean of the best of some rounds.

    The loaders take turns at each crop. What else the machine does counts less than it would by the clock.
    """
    seconds = np.empty((rounds, len(loaders), num_crops))
    for number, position, index in np.ndindex(rounds, num_crops, len(loaders)):
        begin = time.process_time()
        loaders[index](position)
        seconds[number, index, position] = time.process_time() - begin
    return seconds.min(axis=0).mean(axis=1)


def nothing(*_: object) -> None:
    pass


@contextmanager
def unproven() -> Iterator[None]:
    """Shards are opened as they lie."""
    with ExitStack() as stack:
        for name in PROOFS:
            stack.enter_context(mock.patch.object(opening, name, nothing))
        yield


def seconds_to_open(store: Store, rounds: int) -> tuple[float, float]:
    """Seconds of the processor until the arrays of a crop can be read, with proofs and without, in turns."""

    def opened() -> float:
        begin = time.process_time()
        with store.open(store.indices[0]) as shard:
            for name in READ[shard.images]:
                shard.array(name)
        return time.process_time() - begin

    found = []
    for _ in range(rounds):
        proven = opened()
        with unproven():
            found.append((proven, opened()))
    return min(each[0] for each in found), min(each[1] for each in found)


def require_same_crops(loaders: list[Callable[[int], Pixels]], num_crops: int) -> None:
    for position in range(num_crops):
        first, *others = (load(position) for load in loaders)
        for other in others:
            np.testing.assert_array_equal(other.image, first.image)
            np.testing.assert_array_equal(other.label, first.label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="1024x2048")
    parser.add_argument("--crop", default="720x720")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    (height, width), (crop_height, crop_width) = (
        map(int, text.split("x")) for text in (arguments.size, arguments.crop)
    )
    cv2.setNumThreads(0)  # as in a loader process
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_frames(root, (height, width), arguments.frames)
        options = DatasetOptions(root=root)
        frames = open_labelled_frames("cityscapes", options)
        paths = {images: write_store(root, images, 0) for images in IMAGE_FORMS}
        stores = {images: open_store_samples(path) for images, path in paths.items()}
        clips = {images: open_store_samples(write_store(root, images, 1), offsets=OFFSETS) for images in IMAGE_FORMS}
        epoch = build_epoch(frames.index(64), Sampling(length=4 * arguments.frames), seed=0, epoch=0)
        augmentation = Augmentation(crop=(crop_height, crop_width))
        datasets: dict[str, Any] = {
            "PNG files, Pillow alone": PlainFiles(frames, root, by_pillow),
            "PNG files, OpenCV alone": PlainFiles(frames, root, by_opencv),
            "PNG files, `open_labelled_frames`": frames,
            **{f"store, {images} images": store for images, store in stores.items()},
        }
        with_neighbours = {
            "PNG files, `open_labelled_frames`, T = 3": open_labelled_frames("cityscapes", options, offsets=OFFSETS),
            **{f"store, {images} images, T = 3": store for images, store in clips.items()},
        }
        names = [*datasets, *with_neighbours]
        alone, beside = (
            [partial(draw_crop, dataset, epoch, augmentation, surroundings) for dataset in each.values()]
            for each, surroundings in ((datasets, NO_NEIGHBOURS), (with_neighbours, Surroundings((OFFSETS,))))
        )
        require_same_crops([*alone, *beside], len(epoch))
        # in turns of their own, so that what single frames cost does not depend on what is measured beside them
        seconds = np.concatenate(
            [seconds_per_crop(loaders, len(epoch), arguments.rounds) for loaders in (alone, beside)]
        )
        to_open = {images: seconds_to_open(open_store(path), 50 * arguments.rounds) for images, path in paths.items()}
    print(
        f"{arguments.frames} frames of {arguments.size}, crops of {arguments.crop}, best of {arguments.rounds} rounds\n"
    )
    print("| one process | ms of CPU per crop | crops/s | times Pillow alone |")
    print("|---|---:|---:|---:|")
    for name, value in zip(names, seconds, strict=True):
        print(f"| {name} | {1000 * value:.1f} | {1 / value:.1f} | {seconds[0] / value:.2f} |")
    print("\n| opening the shard of a crop | ms of CPU | without proofs | the proofs, of opening and crop |")
    print("|---|---:|---:|---:|")
    for images, (proven, as_it_lies) in to_open.items():
        crop_seconds = seconds[names.index(f"store, {images} images")]
        share = (proven - as_it_lies) / (crop_seconds + as_it_lies)
        print(f"| {images} images | {1000 * proven:.2f} | {1000 * as_it_lies:.2f} | {100 * share:.1f} % |")


if __name__ == "__main__":
    main()
