"""One shard's plan to one closed, verified file. Runs wherever the engine puts it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import torch

from jobs.ahead import ahead
from jobs.errors import CheckpointError, UnfitNodeError
from jobs.pool.places import Share
from jobs.pool.units import Doubtful
from propagate.carry.opened import OpenClip, open_clip
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip
from propagate.data.sample import Sample
from propagate.job.making import Making, Notes
from propagate.job.places import computing_threads, decoding_threads
from propagate.job.sight import ADVICE, Sight
from propagate.shards.manifest import Failure, ShardEntry, ShardPlan
from propagate.shards.schema import ContentHash, ShardPlace
from propagate.shards.transaction import WrittenShard, attempt_name
from propagate.shards.writer import ShardWriter


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """A shard's plan with its clips resolved to frames: the unit that the engine hands out."""

    plan: ShardPlan
    place: ShardPlace
    clips: tuple[Clip, ...]


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a worker tells the driver: what it wrote, the seconds that each stage of it took, and what was counted."""

    shard: WrittenShard
    stages: dict[str, float]
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass
class ShardWorker:
    """Owns what makes samples, and makes one shard at a time.

    Beside a network, the next clip is read, and the last sample written, in threads of their own, and with a GPU frames
    are decoded in several; anything else works on one thread, since a worker per core scales, and threads within one
    gain a sixth and lose far more where the cores are busy.

    share: what it has of its machine.
    sight: what the driver sees. Making a worker raises UnfitNodeError where this machine does not see the same.
    """

    share: Share
    store: Path
    classes: ClassTable
    making: Making
    sight: Sight

    def __post_init__(self) -> None:
        torch.set_num_threads(computing_threads(self.share, is_network=self.making.is_network))
        cv2.setNumThreads(1)
        self.sight.require_store_and_inputs()
        try:
            self._maker = self.making.open(self.classes)
        except CheckpointError as error:  # the driver could open it
            raise UnfitNodeError(f"{error}; {ADVICE}") from None
        self.sight.require_weights(self._maker.fingerprint)
        transfers = self._maker.transfers
        has_gpu = transfers is not None and transfers.device.type != "cpu"
        self._decoding_threads = decoding_threads(self.share) if has_gpu else 1

    def __call__(
        self, unit: ShardTask, attempt: str, on_progress: Callable[[int], None]
    ) -> ShardResult | Doubtful[ShardResult]:
        """Write the shard; the result is doubtful where this machine could not reach an input.

        Raises: StoreError where the store cannot be written.
        """
        notes = Notes()
        result = self._write(unit, self.store / attempt_name(unit.plan, attempt), notes, on_progress)
        return Doubtful(result) if notes.unreachable else result

    def _write(self, unit: ShardTask, path: Path, notes: Notes, on_progress: Callable[[int], None]) -> ShardResult:
        samples = self._samples(unit, notes)
        if self._maker.transfers is not None:
            samples = ahead(samples, depth=2)
        first = next(samples, None)
        if first is None:
            return _result(_empty_entry(unit.plan, notes.failures), None, notes)
        with ShardWriter(path, first.size, self.making.images, unit.place) as writer:
            sample: Sample | None = first
            while sample is not None:
                with notes.watch("write"):
                    writer.add(sample)
                on_progress(1)
                sample = next(samples, None)
            with notes.watch("write"):
                summary = writer.finish()
        entry = ShardEntry(name=unit.plan.name, failures=tuple(notes.failures), **asdict(summary))
        return _result(entry, path.name, notes)

    def _samples(self, task: ShardTask, notes: Notes) -> Iterator[Sample]:
        clips: Iterator[OpenClip] = (self._open(clip, notes) for clip in task.clips)
        if self._maker.transfers is not None:
            clips = ahead(clips, depth=1)
        clips = _of_one_size(clips, task.plan.size)
        # a loop's variable would keep a clip while the next is read
        return chain.from_iterable(map(partial(self._maker, notes=notes), clips))

    def _open(self, clip: Clip, notes: Notes) -> OpenClip:
        opened = open_clip(
            clip,
            self.classes,
            notes.watch,
            num_threads=self._decoding_threads,
            with_vectors=self.making.reads_vectors,
        )
        if opened.unreachable:
            notes.unreachable.append(clip.key)
        return opened


def _of_one_size(clips: Iterator[OpenClip], size: tuple[int, int] | None) -> Iterator[OpenClip]:
    """Clips of another size than the shard's, which it could not hold, fail; None stands for that of the first."""
    for clip in clips:
        if clip.pictures:
            found = next(iter(clip.pictures.values())).size
            size = size or found
            if found != size:
                reason = "now of {}x{}, in a shard of {}x{}: --overwrite plans anew".format(*found, *size)
                failed = Failure(clip=clip.clip.key, offset=0, reason=reason)
                clip = replace(clip, pictures={}, failures=(*clip.failures, failed))
        yield clip


def _result(entry: ShardEntry, attempt_file: str | None, notes: Notes) -> ShardResult:
    shard = WrittenShard(entry=entry, attempt_file=attempt_file)
    return ShardResult(shard=shard, stages=dict(notes.watch.seconds), counts=dict(notes.counts))


def _empty_entry(plan: ShardPlan, failures: list[Failure]) -> ShardEntry:
    return ShardEntry(
        name=None,
        sha256="",
        content=ContentHash().hexdigest(),
        bytes=0,
        samples=0,
        size=plan.size or (0, 0),
        offsets={},
        origins={},
        labels={},
        failures=tuple(failures),
    )
