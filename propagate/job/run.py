"""The main job: plan -> engine -> shards -> manifest. Only this driver enters shards in a store."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch
from filelock import FileLock, Timeout

import propagate
from jobs.pool.run import run_units
from propagate.datasets import open_dataset
from propagate.errors import DatasetError, StoreError
from propagate.job.config import RunConfig
from propagate.job.plan import make_plan
from propagate.job.worker import LEFTOVERS, ShardResult, ShardTask, ShardWorker
from propagate.shards.manifest import (
    FAILURES,
    MANIFEST,
    Failure,
    Manifest,
    ShardPlan,
    load_manifest,
    save_manifest,
    sync_directory,
)

LOCK = ".lock"
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
    run's samples, `planned` the shards that it had to write, `lost` those of them that it could not.
    """

    clips: int
    samples: int
    shards: int
    written: int
    planned: int
    failures: tuple[Failure, ...]
    lost: tuple[str, ...]
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
    on_progress: Callable[[int], None] = lambda _samples: None,
) -> RunSummary:
    """Write the store, or what is missing of it. `on_plan` hears how many samples are to come.

    Raises DatasetError, StoreError (also where the store was begun with other settings or inputs), JobError.
    """
    dataset = open_dataset(config.dataset, config.options)
    clips = dataset.clips(config.frames)[: config.limit]
    if config.frames and not any(len(clip.frames) > 1 or clip.missing for clip in clips):
        raise DatasetError(
            f"{config.options.root}: none of its {len(clips)} annotated frames has a neighbour to propagate to; add "
            "the frames between them (Cityscapes: leftImg8bit_sequence), or take annotated frames alone with --frames 0"
        )
    fresh = Manifest(
        dataset=config.dataset,
        split=config.options.split,
        settings=config.settings(),
        versions=VERSIONS,
        classes=dataset.classes,
        plan=make_plan(clips, config.clips_per_shard),
    )
    with _locked(config.out):
        manifest = _begin(config.out, fresh, overwrite=overwrite, retry_failed=retry_failed)
        pending = _pending(config.out, manifest, fresh, retry_failed=retry_failed)
        on_plan(sum(clip.before + 1 + clip.after for plan in pending for clip in plan.clips))
        by_key = {clip.key: clip for clip in clips}
        clock = _Clock()
        outcomes = run_units(
            [ShardTask(plan=plan, clips=tuple(by_key[clip.key] for clip in plan.clips)) for plan in pending],
            partial(
                ShardWorker,
                store=config.out.resolve(),
                classes=manifest.classes,
                motion=config.motion,
                recipe=config.recipe,
                num_threads=config.threads_per_worker(),
            ),
            engine=config.engine,
            num_workers=config.num_workers,
            address=config.address,
            cpus_per_worker=config.threads_per_worker(),
            gpus_per_worker=int(config.motion.is_network and config.motion.device != "cpu"),
            on_progress=on_progress,
            on_started=clock.start,
        )
        stages: Counter[str] = Counter()
        written, lost = 0, []
        with closing(outcomes):
            for outcome in outcomes:
                if outcome.record is None:
                    lost.append(f"{pending[outcome.index].name}: {outcome.error}")
                else:
                    _enter(config.out, manifest, pending[outcome.index], outcome.record)
                    written += outcome.record.entry.samples
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


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the store's lock, or refuse. The system drops it with the process, however that ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(f"{out}: another run is writing to it; wait for it to end, or choose another OUT") from None
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror}); choose another OUT") from None
    try:
        _sweep(out)
        yield
    finally:
        _sweep(out)  # of what workers were at when the run ended early
        lock.release()


def _sweep(out: Path) -> None:
    """Remove what unfinished attempts left behind."""
    for pattern in LEFTOVERS:
        for leftover in out.glob(pattern):
            leftover.unlink()


def _begin(out: Path, fresh: Manifest, *, overwrite: bool, retry_failed: bool) -> Manifest:
    """The manifest to go on from: the store's own, if it was begun the same way, else the fresh one, saved.

    A store without a finished shard binds nobody.
    """
    if (out / MANIFEST).exists() and overwrite:
        for pattern in ("shard-[0-9]*.h5", FAILURES, MANIFEST):  # last what makes it a store
            for old in out.glob(pattern):
                old.unlink()
    if (out / MANIFEST).exists():
        manifest = load_manifest(out)
        if manifest.shards:
            _refuse_another(out, manifest, fresh, retry_failed=retry_failed)
            return manifest
        save_manifest(out, fresh)
        return fresh
    strangers = sorted(path.name for path in out.iterdir() if path.name != LOCK)
    if strangers:
        raise StoreError(
            f"{out}: holds '{strangers[0]}' but no manifest, so it is no shard store; choose an empty folder"
        )
    save_manifest(out, fresh)
    return fresh


def _refuse_another(out: Path, old: Manifest, new: Manifest, *, retry_failed: bool) -> None:
    """Raise StoreError unless both were begun with the same settings, versions, classes and inputs.

    A clip that failed may be mended, and a retry takes every clip's inputs as they are now.
    """
    differences = [
        f"{name}: {before.get(name)} in the store, {after.get(name)} now"
        for before, after in ((old.settings, new.settings), (old.versions, new.versions))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if old.classes != new.classes:
        differences.append(f"class table: '{old.classes.name}' in the store differs from '{new.classes.name}' now")
    before, now = old.inputs, new.inputs
    mended = now.keys() if retry_failed else {failure.clip for failure in old.failures} & now.keys()
    changed = sorted(
        key
        for key in before.keys() | now.keys()
        if before.get(key) != now.get(key) and key not in before.keys() & mended
    )
    if changed and not differences:  # settings decide which files are inputs
        differences.append(
            f"the inputs of {len(changed)} clips, first {changed[0]}: files were added, removed or changed; "
            "--retry-failed makes the shards of such clips again, unless clips were added or removed"
        )
    if differences:
        raise StoreError(
            f"{out}: begun with another configuration ({'; '.join(differences)}); run with the former one to continue "
            "it, choose another OUT, or --overwrite to begin anew"
        )


def _pending(out: Path, manifest: Manifest, fresh: Manifest, *, retry_failed: bool) -> list[ShardPlan]:
    """The shards to write: those not yet written, those whose file is gone, and, on demand, those with
    failures or other inputs than then.

    The plan stays as it was begun; the inputs of its clips are taken as they are now.
    """
    now = {clip.key: clip for plan in fresh.plan for clip in plan.clips}

    def is_done(plan: ShardPlan) -> bool:
        entry = manifest.shards.get(plan.index)
        if entry is None:
            return False
        if retry_failed and (entry.failures or any(clip != now[clip.key] for clip in plan.clips)):
            return False
        return entry.name is None or _has_size(out / entry.name, entry.bytes)

    return [
        replace(plan, clips=tuple(now[clip.key] for clip in plan.clips)) for plan in manifest.plan if not is_done(plan)
    ]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _enter(out: Path, manifest: Manifest, plan: ShardPlan, result: ShardResult) -> None:
    """Give a finished shard its name and its place in the manifest.

    Where it replaces an older one, that leaves the manifest first: at no moment does an entry name a file that it does
    not describe.
    """
    if manifest.shards.pop(plan.index, None) is not None:
        save_manifest(out, manifest)
    if result.attempt_file is None:
        (out / plan.name).unlink(missing_ok=True)
    else:
        (out / result.attempt_file).rename(out / plan.name)
    sync_directory(out)
    manifest.plan = tuple(plan if old.index == plan.index else old for old in manifest.plan)
    manifest.shards[plan.index] = result.entry
    save_manifest(out, manifest)
