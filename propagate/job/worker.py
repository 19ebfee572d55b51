"""One shard's plan to one closed, verified file. Runs wherever the engine puts it."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import torch

from jobs.ahead import ahead
from jobs.errors import CheckpointError, UnfitNodeError
from jobs.pool.places import Share
from jobs.pool.units import Doubtful
from jobs.timing import Stopwatch
from propagate.carry.opened import OpenClip, open_clip
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip
from propagate.data.sample import Sample
from propagate.job.places import computing_threads, decoding_threads
from propagate.job.sight import ADVICE, Sight
from propagate.shards.manifest import Failure, ShardEntry, ShardPlan
from propagate.shards.schema import ContentHash, ShardPlace
from propagate.shards.transaction import WrittenShard, attempt_name
from propagate.shards.writer import ShardWriter
from sdcnet.motion.registry import MotionSettings, open_estimator


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """A shard's plan with its clips resolved to frames: the unit that the engine hands out."""

    plan: ShardPlan
    place: ShardPlace
    clips: tuple[Clip, ...]


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a worker tells the driver: what it wrote, and the seconds that each stage of it took."""

    shard: WrittenShard
    stages: dict[str, float]


@dataclass
class ShardWorker:
    """Owns the motion estimator, and makes one shard at a time.

    Beside a network, the next clip is read, and the last sample written, in threads of their own, and with a GPU frames
    are decoded in several; anything else works on one thread, since a worker per core scales, and threads within one
    gain a sixth and lose far more where the cores are busy.

    share: what it has of its machine.
    sight: what the driver sees. Making a worker raises UnfitNodeError where this machine does not see the same.
    """

    share: Share
    store: Path
    classes: ClassTable
    motion: MotionSettings
    sample_settings: SampleSettings
    sight: Sight

    def __post_init__(self) -> None:
        torch.set_num_threads(computing_threads(self.share, is_network=self.motion.is_network))
        cv2.setNumThreads(1)
        self.sight.require_store_and_inputs()
        try:
            self._estimator = open_estimator(self.motion)
        except CheckpointError as error:  # the driver could open it
            raise UnfitNodeError(f"{error}; {ADVICE}") from None
        self.sight.require_weights(self._estimator.fingerprint)
        transfers = self._estimator.transfers
        has_gpu = transfers is not None and transfers.device.type != "cpu"
        self._decoding_threads = decoding_threads(self.share) if has_gpu else 1
        self._path = path_of(self._estimator)
        self._unreachable = False

    def __call__(
        self, unit: ShardTask, attempt: str, on_progress: Callable[[int], None]
    ) -> ShardResult | Doubtful[ShardResult]:
        """Write the shard; the result is doubtful where this machine could not reach an input.

        Raises: StoreError where the store cannot be written.
        """
        self._unreachable = False
        result = self._write(unit, self.store / attempt_name(unit.plan, attempt), on_progress)
        return Doubtful(result) if self._unreachable else result

    def _write(self, unit: ShardTask, path: Path, on_progress: Callable[[int], None]) -> ShardResult:
        watch = Stopwatch()
        failures: list[Failure] = []
        samples = self._samples(unit, watch, failures)
        if self._estimator.transfers is not None:
            samples = ahead(samples, depth=2)
        first = next(samples, None)
        if first is None:
            shard = WrittenShard(entry=_empty_entry(unit.plan, failures), attempt_file=None)
            return ShardResult(shard=shard, stages=dict(watch.seconds))
        with ShardWriter(path, first.size, self.sample_settings.images, unit.place) as writer:
            sample: Sample | None = first
            while sample is not None:
                with watch("write"):
                    writer.add(sample)
                on_progress(1)
                sample = next(samples, None)
            with watch("write"):
                summary = writer.finish()
        entry = ShardEntry(name=unit.plan.name, failures=tuple(failures), **asdict(summary))
        shard = WrittenShard(entry=entry, attempt_file=path.name)
        return ShardResult(shard=shard, stages=dict(watch.seconds))

    def _samples(self, task: ShardTask, watch: Stopwatch, failures: list[Failure]) -> Iterator[Sample]:
        clips: Iterator[OpenClip] = (self._open(clip, watch) for clip in task.clips)
        if self._estimator.transfers is not None:
            clips = ahead(clips, depth=1)
        clips = _of_one_size(clips, task.plan.size)
        samples_of = partial(
            propagate_clip,
            ignore_id=self.classes.ignore_id,
            estimator=self._estimator,
            path=self._path,
            sample_settings=self.sample_settings,
            watch=watch,
            on_failure=failures.append,
        )
        return chain.from_iterable(map(samples_of, clips))  # a loop's variable would keep a clip while the next is read

    def _open(self, clip: Clip, watch: Stopwatch) -> OpenClip:
        opened = open_clip(
            clip,
            self.classes,
            watch,
            num_threads=self._decoding_threads,
            with_vectors=self.motion.reads_vectors,
        )
        self._unreachable |= opened.unreachable
        return opened


def _of_one_size(clips: Iterator[OpenClip], size: tuple[int, int] | None) -> Iterator[OpenClip]:
    """Clips of another size than the shard's, which it could not hold, fail; None stands for that of the first."""
    for clip in clips:
        if clip.pictures:
            found = clip.pictures[0].size
            size = size or found
            if found != size:
                reason = "now of {}x{}, in a shard of {}x{}: --overwrite plans anew".format(*found, *size)
                failed = Failure(clip=clip.clip.key, offset=0, reason=reason)
                clip = replace(clip, pictures={}, failures=(*clip.failures, failed))
        yield clip


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
