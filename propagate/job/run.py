"""The main job: plan -> engine -> shards -> manifest. Only this driver enters shards in a store."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch

import propagate
from jobs.differences import told_differences
from jobs.pool.places import Staff
from jobs.pool.run import run_units
from propagate.carry.corrector import NEVER
from propagate.carry.corrector_files import evidence_settings, open_corrector, taught_with
from propagate.carry.samples import CARRYING
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip, CodedFrame, within
from propagate.data.masks import with_masks
from propagate.datasets.registry import open_dataset
from propagate.datasets.sides import two_sided
from propagate.errors import DatasetError
from propagate.job.carrying import CARRIED, CORRECTED, Carrying
from propagate.job.config import RunConfig
from propagate.job.making import Making, with_absolute_paths
from propagate.job.places import room_for
from propagate.job.plan import make_plan, num_samples
from propagate.job.sight import shown_sight
from propagate.job.worker import ShardTask, ShardWorker
from propagate.shards.manifest import Failure, Manifest
from propagate.shards.transaction import open_transaction
from sdcnet.errors import MotionError

_log = logging.getLogger(__name__)

VERSIONS = {
    "propagate": propagate.__version__,
    "numpy": np.__version__,
    "torch": torch.__version__,
    "opencv": cv2.__version__,
    "pillow": PIL.__version__,
}


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run ended. `samples`, `shards` and `failures` describe the store; `written` counts this
    run's samples, `planned` the shards that it had to write, `lost` those of them that it could not; `barred` says
    which machines got no work, and why. `masked`: neighbours of the clips that masks were given of. `corrected`: of the
    pixels that this run carried labels to, the share whose label a corrector changed; None without one.
    """

    clips: int
    samples: int
    shards: int
    written: int
    planned: int
    failures: tuple[Failure, ...]
    lost: tuple[str, ...]
    barred: tuple[str, ...]
    masked: int
    seconds: float
    stages: dict[str, float]
    corrected: float | None = None

    @property
    def samples_per_second(self) -> float:
        return self.written / self.seconds if self.seconds else 0.0


def run(
    config: RunConfig,
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
    on_plan: Callable[[int], None] = lambda _samples: None,
    on_started: Callable[[Sequence[Staff]], None] = lambda _staff: None,
    on_progress: Callable[[int], None] = lambda _samples: None,
) -> RunSummary:
    """Write the store, or what is missing of it. `on_plan` hears how many samples are to come, `on_started` who is
    at work.

    Raises: DatasetError, StoreError (also where the store was begun with other settings or inputs), JobError.
    """
    config = config.found()
    assert config.dataset is not None
    dataset = open_dataset(config.dataset, config.options)
    num_neighbours = max(map(abs, config.reach))
    clips = [within(clip, config.reach) for clip in dataset.clips(num_neighbours)[: config.limit]]
    if num_neighbours and not any(len(clip.frames) > 1 or clip.missing for clip in clips):
        raise DatasetError(
            f"{config.options.root}: none of its {len(clips)} annotated frames has a neighbour to propagate to; add "
            "the frames between them (Cityscapes: leftImg8bit_sequence), or take annotated frames alone with --frames 0"
        )
    _require_offsets(clips, config.sample_settings.offsets or (), str(config.options.root))
    if config.sample_settings.fuses:
        clips = two_sided(clips, num_neighbours)
    if config.masks is not None:
        clips = with_masks(clips, config.masks)
    if config.corrector is not None:
        _look_at_corrector(config, config.corrector, dataset.classes)
    if config.motion.reads_vectors and not any(
        isinstance(frame, CodedFrame) for clip in clips for frame in clip.frames.values()
    ):
        raise MotionError(
            f"motion 'codec' reads the motion vectors of videos, and {config.options.root} holds frames of data set "
            f"'{config.dataset}': have vectors made of them, with --transcode mpeg4"
        )
    fresh = Manifest(
        dataset=config.dataset,
        split=config.options.split,
        settings=config.settings(),
        versions={"propagate": VERSIONS["propagate"], "carrying": CARRYING, **VERSIONS},  # ids follow from the order
        classes=dataset.classes,
        plan=make_plan(clips, config.clips_per_shard),
    )
    counts: Counter[str] = Counter()
    summary = make_store(
        config.out,
        fresh,
        clips,
        Carrying(motion=config.motion, sample_settings=config.sample_settings, corrector=config.corrector),
        engine=config.engine,
        num_workers=config.num_workers,
        address=config.address,
        retry_failed=retry_failed,
        overwrite=overwrite,
        on_plan=on_plan,
        on_started=on_started,
        on_progress=on_progress,
        on_counts=counts.update,
    )
    return replace(summary, corrected=counts[CORRECTED] / counts[CARRIED] if counts[CARRIED] else None)


def _look_at_corrector(config: RunConfig, path: Path, classes: ClassTable) -> None:
    """Say where a corrector is of little use, or taught by labels that were carried otherwise than here.

    Raises: CheckpointError where it cannot be used.
    """
    if open_corrector(path, classes).margin >= NEVER:
        _log.warning(
            "%s: won nothing on frames held out: it changes no label, and lowers confidence where it doubts", path
        )
    taught, here = taught_with(path), evidence_settings(config.motion.name, config.sample_settings)
    if taught and (told := told_differences(taught, here, "then")):
        _log.warning(
            "%s: was taught with labels that were carried otherwise (%s), and may be wrong about these; train one for "
            "them: propagate fit-corrector",
            path,
            "; ".join(told),
        )


def make_store(
    out: Path,
    fresh: Manifest,
    clips: Sequence[Clip],
    making: Making,
    *,
    engine: str,
    num_workers: int | None = None,
    address: str | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    on_plan: Callable[[int], None] = lambda _samples: None,
    on_started: Callable[[Sequence[Staff]], None] = lambda _staff: None,
    on_progress: Callable[[int], None] = lambda _samples: None,
    on_counts: Callable[[Mapping[str, int]], None] = lambda _counts: None,
) -> RunSummary:
    """Write a store of samples that are made in any way, or what is missing of it.

    fresh: what the store is begun with; a store that was begun otherwise is refused. clips: all of its plan. making:
    how samples are made of them. engine, num_workers, address: as in `jobs.pool.run.run_units`. on_counts: hears what
    was counted as a shard was made, once it is entered; the others are as in `run`.

    Raises: StoreError, JobError, and what opening `making` raises; DatasetError for two clips of one key.
    """
    (key, number), *_ = Counter(clip.key for clip in clips).most_common(1) or [("", 0)]
    if number > 1:
        raise DatasetError(
            f"{number} annotated frames have the key '{key}', by which a store tells them apart; rename all but one"
        )
    with open_transaction(out, fresh, overwrite=overwrite, retry_failed=retry_failed) as transaction:
        manifest, pending = transaction.manifest, transaction.pending
        on_plan(sum(num_samples(clip, manifest.settings) for plan in pending for clip in plan.clips))
        by_key = {clip.key: clip for clip in clips}
        tasks = [
            ShardTask(plan=plan, place=manifest.place(plan.index), clips=tuple(by_key[clip.key] for clip in plan.clips))
            for plan in pending
        ]
        store = out.resolve()
        clock = _Clock()
        stages: Counter[str] = Counter()

        def begin(staff: Sequence[Staff]) -> None:
            clock.start()
            on_started(staff)

        written = 0
        lost: list[str] = []
        barred: list[str] = []
        with ExitStack() as cleanup:
            sight = cleanup.enter_context(
                shown_sight(store, [clip for task in tasks for clip in task.clips], manifest.settings)
            )
            outcomes = run_units(
                tasks,
                partial(
                    ShardWorker, store=store, classes=manifest.classes, making=with_absolute_paths(making), sight=sight
                ),
                engine=engine,
                num_workers=num_workers,
                address=address,
                room=room_for(is_network=making.is_network),
                gpus=making.is_network and making.device != "cpu",
                on_progress=on_progress,
                on_started=begin,
                on_barred=barred.append,
            )
            cleanup.enter_context(closing(outcomes))
            for outcome in outcomes:
                if outcome.record is None:
                    lost.append(f"{pending[outcome.index].name}: {outcome.error}")
                else:
                    transaction.enter(pending[outcome.index], outcome.record.shard)
                    written += outcome.record.shard.entry.samples
                    stages.update(outcome.record.stages)
                    on_counts(outcome.record.counts)
                clock.lap()
        return RunSummary(
            clips=manifest.num_clips,
            samples=manifest.num_samples,
            shards=len(manifest.shards),
            written=written,
            planned=len(pending),
            failures=tuple(manifest.failures),
            lost=tuple(lost),
            barred=tuple(barred),
            masked=sum(len(clip.masks) for clip in clips),
            seconds=clock.seconds,
            stages=dict(stages),
        )


def _require_offsets(clips: Sequence[Clip], offsets: Sequence[int], where: str) -> None:
    """Raise DatasetError for offsets that no clip reaches. A hole on the way there is a failure of its clip instead."""
    lacking = [offset for offset in offsets if offset and not any(_is_expected(clip, offset) for clip in clips)]
    if lacking:
        there = sorted({offset for clip in clips for offset in clip.frames if offset})
        raise DatasetError(
            f"{where}: none of its {len(clips)} annotated frames has a neighbour at offset "
            f"{', '.join(map(str, sorted(lacking)))}; as far as that there are neighbours at "
            f"{', '.join(map(str, there)) or 'none'}: give --offsets of these, or add the frames farther out"
        )


def _is_expected(clip: Clip, offset: int) -> bool:
    step = 1 if offset > 0 else -1
    return offset in clip.frames or any(between in clip.missing for between in range(step, offset + step, step))


class _Clock:
    """Seconds of work: from the first worker's start to the last shard's end, without the engine's own."""

    def __init__(self) -> None:
        self._begin, self.seconds = 0.0, 0.0

    def start(self) -> None:
        self._begin = time.perf_counter()

    def lap(self) -> None:
        self.seconds = time.perf_counter() - self._begin
