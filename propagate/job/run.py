"""The main job: plan -> engine -> shards -> manifest. Only this driver enters shards in a store."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import PIL
import torch

import propagate
from jobs.pool.places import Staff
from jobs.pool.run import run_units
from propagate.carry.samples import CARRYING
from propagate.data.clip import CodedFrame
from propagate.datasets.registry import open_dataset
from propagate.errors import DatasetError
from propagate.job.config import RunConfig
from propagate.job.places import room_for
from propagate.job.plan import make_plan
from propagate.job.sight import shown_sight
from propagate.job.worker import ShardTask, ShardWorker
from propagate.shards.manifest import Failure, Manifest
from propagate.shards.transaction import open_transaction
from sdcnet.errors import MotionError

VERSIONS = {
    "propagate": propagate.__version__,
    "carrying": CARRYING,
    "numpy": np.__version__,
    "torch": torch.__version__,
    "opencv": cv2.__version__,
    "pillow": PIL.__version__,
}


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run ended. `samples`, `shards` and `failures` describe the store; `written` counts this
    run's samples, `planned` the shards that it had to write, `lost` those of them that it could not; `barred` says
    which machines got no work, and why.
    """

    clips: int
    samples: int
    shards: int
    written: int
    planned: int
    failures: tuple[Failure, ...]
    lost: tuple[str, ...]
    barred: tuple[str, ...]
    seconds: float
    stages: dict[str, float]

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
    clips = dataset.clips(config.frames)[: config.limit]
    if config.frames and not any(len(clip.frames) > 1 or clip.missing for clip in clips):
        raise DatasetError(
            f"{config.options.root}: none of its {len(clips)} annotated frames has a neighbour to propagate to; add "
            "the frames between them (Cityscapes: leftImg8bit_sequence), or take annotated frames alone with --frames 0"
        )
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
        versions=VERSIONS,
        classes=dataset.classes,
        plan=make_plan(clips, config.clips_per_shard),
    )
    with open_transaction(config.out, fresh, overwrite=overwrite, retry_failed=retry_failed) as transaction:
        manifest, pending = transaction.manifest, transaction.pending
        on_plan(sum(clip.before + 1 + clip.after for plan in pending for clip in plan.clips))
        by_key = {clip.key: clip for clip in clips}
        tasks = [
            ShardTask(plan=plan, place=manifest.place(plan.index), clips=tuple(by_key[clip.key] for clip in plan.clips))
            for plan in pending
        ]
        store = config.out.resolve()
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
                    ShardWorker,
                    store=store,
                    classes=manifest.classes,
                    motion=config.motion,
                    sample_settings=config.sample_settings,
                    sight=sight,
                ),
                engine=config.engine,
                num_workers=config.num_workers,
                address=config.address,
                room=room_for(is_network=config.motion.is_network),
                gpus=config.motion.is_network and config.motion.device != "cpu",
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
            seconds=clock.seconds,
            stages=dict(stages),
        )


class _Clock:
    """Seconds of work: from the first worker's start to the last shard's end, without the engine's own."""

    def __init__(self) -> None:
        self._begin, self.seconds = 0.0, 0.0

    def start(self) -> None:
        self._begin = time.perf_counter()

    def lap(self) -> None:
        self.seconds = time.perf_counter() - self._begin
