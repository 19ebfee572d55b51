"""Motion between the frames of samples, estimated once, before they are changed, and kept in a folder.

A file holds one flow, in float16, and which of its pixels both frames show; its name follows from the two frames. The
folder's own file says how its flows were made, and another method is refused.
"""

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
from torch import Tensor

from jobs.differences import told_differences
from jobs.files import write_whole
from sdcnet.geometry import is_seen
from sdcnet.motion.estimator import MotionEstimator, ObservedPixels, Step
from segtrain.data.dataset import PairMotion, Pixels, SegmentationDataset, Window, inside
from segtrain.data.index import ClassIndex
from segtrain.data.surroundings import Surroundings
from segtrain.errors import DataError

METHOD = "method.json"
MOST_ALONG_TILE = 256  # pixels: what a window reads is a little more than itself
SAY_EVERY = 30.0  # seconds
BYTES_PER_PIXEL = 4 + 1 / 8  # two float16; whether it is seen takes next to nothing, packed


@dataclass(frozen=True)
class FlowPair:
    """A sample's frame and a neighbour of it: which sample, at which offset, and the name of the file of its flow."""

    number: int
    offset: int
    name: str


class FlowCache:
    """Flows in a folder. Raises: DataError where it holds flows of another method, or cannot be used."""

    def __init__(self, folder: Path, method: Mapping[str, object]) -> None:
        self.folder = folder.absolute()
        told = json.dumps(method, indent=1, sort_keys=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / METHOD).exists():
                strangers = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
                if strangers:
                    raise DataError(
                        f"{folder}: holds '{strangers[0]}' but no {METHOD}, so it is no flow cache; give an empty "
                        "folder"
                    )
                write_whole(self.folder / METHOD, told.encode())
            found = (self.folder / METHOD).read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{folder}: cannot be used ({error.strerror}); choose another --flow-cache") from None
        if found != told:
            raise DataError(f"{folder}: {_differences(found, method)}")

    def has(self, pair: FlowPair) -> bool:
        """Whether there is a whole file of it; what is within is proven when it is read."""
        try:
            with h5py.File(self._path(pair.name), "r") as file:
                return {"flow", "is_seen"} <= set(file)
        except OSError:
            return False

    def write(self, pair: FlowPair, flow: Tensor, seen: Tensor) -> None:
        """flow: [1,2,H,W] of the sample's frame to the neighbour; seen: [1,1,H,W] bool. Raises: DataError."""
        path, buffer = self._path(pair.name), io.BytesIO()
        height, width = flow.shape[-2:]
        chunk = _even(height), _even(width)
        with h5py.File(buffer, "w") as file:
            rows = flow[0].permute(1, 2, 0).numpy().astype(np.float16)
            file.create_dataset("flow", data=rows, chunks=(*chunk, 2), fletcher32=True)
            mask = seen[0, 0].numpy().astype(np.uint8)
            file.create_dataset("is_seen", data=mask, chunks=chunk, fletcher32=True, compression="gzip")
        try:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, buffer.getbuffer(), synced=False)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror}); choose another --flow-cache") from None

    def read(self, pair: FlowPair, window: Window) -> PairMotion:
        """Raises: DataError for a file that is not there, or damaged."""
        path = self._path(pair.name)
        rows, columns = window.slices
        try:
            with h5py.File(path, "r") as file:
                flow, seen = file["flow"][rows, columns], file["is_seen"][rows, columns]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); remove it: it is made anew when a training begins"
            ) from None
        return PairMotion(flow.astype(np.float32), seen == 1)

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.h5"


def pairs_of(dataset: SegmentationDataset, surroundings: Surroundings) -> Iterator[FlowPair]:
    """All pairs that crops of a data set may show."""
    for number in range(len(dataset.records)):
        possible = surroundings.possible(dataset.offsets_at(number))
        shown = {offset for choice in possible for offset in choice}
        identities = dataset.identities(number)
        for offset in sorted(shown):
            yield FlowPair(number, offset, _name(identities[0], identities[offset]))


def fill(
    cache: FlowCache,
    dataset: SegmentationDataset,
    surroundings: Surroundings,
    estimator: MotionEstimator,
    say: Callable[[str], object],
) -> None:
    """Estimate the flows that a training may ask for and the cache lacks; say how large they are before the first.

    Raises: DataError where the disk has no room for them; what the data set and the estimator raise.
    """
    wanted = {pair.name: pair for pair in pairs_of(dataset, surroundings)}
    missing = [pair for pair in wanted.values() if not cache.has(pair)]
    if not missing:
        return
    num_bytes = sum(int(np.prod(dataset.size(pair.number))) * BYTES_PER_PIXEL for pair in missing)
    free = shutil.disk_usage(cache.folder).free
    size = f"{num_bytes / 1e9:.3g} GB"
    if num_bytes > free:
        raise DataError(
            f"{cache.folder}: {len(missing)} flows take {size}, and {free / 1e9:.3g} GB are free; give another "
            "--flow-cache, a smaller --gap, or none: flows are then estimated in each step"
        )
    say(f"{cache.folder}: {len(missing)} of {len(wanted)} flows are estimated first, {size}")

    by_sample: dict[int, list[FlowPair]] = {}
    for pair in missing:
        by_sample.setdefault(pair.number, []).append(pair)

    def make(pairs: list[FlowPair]) -> int:
        pixels = dataset.read(pairs[0].number, None, [pair.offset for pair in pairs])
        image, *neighbours = (torch.from_numpy(frame).permute(2, 0, 1)[None] for frame in pixels.frames)
        for pair, neighbour in zip(pairs, neighbours, strict=True):
            flow, seen = seen_flow(image, neighbour, estimator)
            cache.write(pair, flow.cpu(), seen.cpu())
        return len(pairs)

    # what OpenCV computes goes on beside Python; a network has the machine to itself
    num_threads = 1 if estimator.transfers is not None else len(os.sched_getaffinity(0))
    done, said, threads_of_opencv = 0, time.monotonic(), cv2.getNumThreads()
    try:
        with ThreadPoolExecutor(num_threads) as pool:
            for count in pool.map(make, by_sample.values()):
                done += count
                if time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    say(f"{done}/{len(missing)} flows")
    finally:
        cv2.setNumThreads(threads_of_opencv)  # each flow sets it, and puts back what another one has set


def seen_flow(image: Tensor, neighbour: Tensor, estimator: MotionEstimator) -> tuple[Tensor, Tensor]:
    """The flow of images [B,3,H,W] uint8 RGB to their neighbours, [B,2,H,W], and which pixels both show [B,1,H,W].

    Both lie where the estimator computes; all are estimated at once, of which networks make batches.
    """
    if estimator.transfers is not None:
        image, neighbour = map(estimator.transfers.to_device, (image, neighbour))
    frames = [*image.split(1), *neighbour.split(1)]
    count = len(image)
    ways = [Step((count + n,), n) for n in range(count)] + [Step((n,), count + n) for n in range(count)]
    flows = list(estimator.estimate(dict(enumerate(map(ObservedPixels, frames))), ways))
    flow, back = torch.cat(flows[:count]), torch.cat(flows[count:])
    return flow, is_seen(flow, back)


class WithFlows:
    """A data set whose samples come with the motion to their neighbours, from a cache that holds it."""

    def __init__(self, dataset: SegmentationDataset, cache: FlowCache) -> None:
        self._dataset, self._cache = dataset, cache
        self.classes, self.records = dataset.classes, dataset.records
        self.offsets = dataset.offsets

    def size(self, number: int) -> tuple[int, int]:
        return self._dataset.size(number)

    def offsets_at(self, number: int) -> tuple[int, ...]:
        return self._dataset.offsets_at(number)

    def identities(self, number: int) -> Mapping[int, str]:
        return self._dataset.identities(number)

    def read(self, number: int, window: Window | None = None, offsets: Sequence[int] | None = None) -> Pixels:
        there = self._dataset.offsets_at(number) if offsets is None else offsets
        pixels = self._dataset.read(number, window, there)
        identities, part = self._dataset.identities(number), inside(window, self._dataset.size(number))
        pairs = (FlowPair(number, offset, _name(identities[0], identities[offset])) for offset in there)
        return pixels._replace(motions=tuple(self._cache.read(pair, part) for pair in pairs))

    def index(self, tile: int) -> ClassIndex:
        return self._dataset.index(tile)


def _even(length: int) -> int:
    """How long tiles are that cover a length evenly: none is filled up with much that is not there."""
    return -(-length // -(-length // MOST_ALONG_TILE))


def _name(frame: str, neighbour: str) -> str:
    return sha256(json.dumps([frame, neighbour]).encode()).hexdigest()


def _differences(found: str, method: Mapping[str, object]) -> str:
    """What is wrong with a folder of flows whose method is not this one, and what to do."""
    try:
        told = "; ".join(told_differences(json.loads(found), method, "there"))
    except (ValueError, TypeError, AttributeError):
        return f"its {METHOD} is damaged, so that nobody knows which motion it holds; give another --flow-cache"
    return f"holds flows of another method ({told}); give the former motion, or another --flow-cache"
