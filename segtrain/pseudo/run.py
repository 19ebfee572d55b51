"""A store of pseudo labels: frames -> thresholds -> the same job that writes propagated labels."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.pool.places import Staff
from jobs.training.runtime import open_runtime
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.job.plan import make_plan
from propagate.job.run import VERSIONS, RunSummary, make_store
from propagate.shards.manifest import MANIFEST, Manifest, load_manifest
from sdcnet.motion.registry import MotionSettings
from segtrain.errors import DataError
from segtrain.pseudo.calibration import calibrate, frames_to_calibrate_on
from segtrain.pseudo.clips import clips_around, clips_of_sources, wanted_offsets
from segtrain.pseudo.labelling import FOUND, KEPT, SURE, Labelling, Teacher
from segtrain.pseudo.settings import PseudoSettings

LABELLING = "1"  # how labels are made: the next number, where that changes, so that no store holds two ways
FILES = "files"  # in place of a data set's layout, of videos and folders without annotations


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """Frames to label, as clips, and what a store says of where they come from; classes: of the data set, if any."""

    clips: tuple[Clip, ...]
    dataset: str
    split: str
    settings: Mapping[str, Any]
    classes: ClassTable | None = None
    beyond: int = 0


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """Of the frames that this run has labelled: pixels of a class that were found, those of them that are as probable
    as its threshold, and those that were kept.
    """

    threshold: float
    found: int
    sure: int
    kept: int


@dataclass(frozen=True, kw_only=True)
class PseudoSummary:
    """How a run ended; teacher: the digest of its weights; calibrated_on: frames, None where the store had thresholds
    already, or none were asked for; classes: by name; kept: the share of all the store's pixels that have a label.
    """

    run: RunSummary
    teacher: str
    calibrated_on: int | None
    classes: Mapping[str, ClassSummary]
    kept: float


def frames_around(
    dataset: str, options: DatasetOptions, *, frames: int = 10, beyond: int = 0, limit: int | None = None
) -> Unlabelled:
    """The frames around the annotated ones of a data set, up to `frames` away and farther than `beyond`.

    limit: only of the first annotated frames. Raises: DatasetError, DataError.
    """
    opened = open_dataset(dataset, options)
    settings = {"frames": frames, "beyond": beyond, "source": False, "max_gap": options.max_gap, "limit": limit}
    clips = clips_around(opened.clips(frames), beyond)[:limit]
    if not any(wanted_offsets(clip, beyond) for clip in clips):
        raise DataError(f"{options.root}: none of the frames around the first {limit} annotated ones; raise --limit")
    return Unlabelled(
        clips=tuple(clips),
        dataset=dataset,
        split=options.split,
        settings=settings,
        classes=opened.classes,
        beyond=beyond,
    )


def frames_of_files(
    sources: Sequence[Path], *, split: str = "train", every: int = 1, limit: int | None = None
) -> Unlabelled:
    """Every n-th frame of videos and of folders of frames; limit: only of the first clips.

    Raises: DataError, FrameError.
    """
    clips = clips_of_sources(sources, split, every)[:limit]
    return Unlabelled(clips=tuple(clips), dataset=FILES, split=split, settings={"every": every, "limit": limit})


def write_pseudo_labels(
    out: Path,
    frames: Unlabelled,
    teacher: Teacher,
    settings: PseudoSettings | None = None,
    *,
    classes: ClassTable | None = None,
    motion: MotionSettings | None = None,
    images: str = "encoded",
    clips_per_shard: int | None = None,
    engine: str = "ray",
    num_workers: int | None = None,
    address: str | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    on_calibrate: Callable[[int], None] = lambda _frames: None,
    on_plan: Callable[[int], None] = lambda _samples: None,
    on_started: Callable[[Sequence[Staff]], None] = lambda _staff: None,
    on_progress: Callable[[int], None] = lambda _frames: None,
) -> PseudoSummary:
    """Write a store of what a teacher predicts of frames, or what is missing of it.

    classes: another table than the data set's own, or than that of the file of weights. motion: along which frames
    beside each other have to agree, by default DIS. on_calibrate: hears on how many frames thresholds are found, before
    that begins; a store that was begun keeps those that it has. The rest is as in `propagate.job.run`.

    Raises: CheckpointError, also where the teacher knows other classes; StoreError, DataError, InferenceError,
    MotionError, JobError.
    """
    settings = settings or PseudoSettings()
    table = teacher.opened(open_runtime("cpu", teacher.dtype), classes or frames.classes).classes
    num_classes = len(table.train_names)
    labelling = Labelling(
        teacher=teacher,
        thresholds=(0.0,) * num_classes,
        beyond=frames.beyond,
        motion=(motion or MotionSettings()) if settings.temporal_filter else None,
        images=images,
    )
    described = {
        "command": "segtrain pseudo",
        **frames.settings,
        **labelling.fingerprint(),
        "threshold": settings.threshold,
        "calibrate_on": settings.calibrate_on,
        "clips_per_shard": clips_per_shard,
    }
    calibrated_on = None
    thresholds = _thresholds_of(out, described, table) if not overwrite else None
    if thresholds is None and settings.threshold > 0:
        chosen = frames_to_calibrate_on(frames.clips, frames.beyond, settings.calibrate_on)
        on_calibrate(len(chosen))
        found = calibrate(
            chosen,
            labelling,
            table,
            settings.threshold,
            engine=engine,
            num_workers=num_workers,
            address=address,
            on_progress=on_progress,
        )
        thresholds, calibrated_on = found.thresholds, found.num_frames
    labelling = replace(labelling, thresholds=thresholds or labelling.thresholds)
    by_name = dict(zip(table.train_names, labelling.thresholds, strict=True))
    counts: Counter[str] = Counter()
    run = make_store(
        out,
        Manifest(
            dataset=frames.dataset,
            split=frames.split,
            settings={**described, "thresholds": by_name},
            versions={**VERSIONS, "labelling": LABELLING},
            classes=table,
            plan=make_plan(frames.clips, clips_per_shard),
        ),
        frames.clips,
        labelling,
        engine=engine,
        num_workers=num_workers,
        address=address,
        retry_failed=retry_failed,
        overwrite=overwrite,
        on_plan=on_plan,
        on_started=on_started,
        on_progress=on_progress,
        on_counts=counts.update,
    )
    return PseudoSummary(
        run=run,
        teacher=str(described["teacher"]),
        calibrated_on=calibrated_on,
        classes={
            name: ClassSummary(
                threshold=threshold, **{stage: counts[f"{stage} {train_id}"] for stage in (FOUND, SURE, KEPT)}
            )
            for train_id, (name, threshold) in enumerate(by_name.items())
        },
        kept=_share_kept(load_manifest(out)),
    )


def _thresholds_of(out: Path, described: Mapping[str, Any], table: ClassTable) -> tuple[float, ...] | None:
    """Those of the store that there is, where this run goes on with it, or is refused for another reason."""
    if not (out / MANIFEST).exists():
        return None
    old = load_manifest(out)
    known = old.settings.get("thresholds", {})
    same = {name: value for name, value in old.settings.items() if name != "thresholds"} == described
    if not (old.num_samples or (same and known)):
        return None
    return tuple(known.get(name, 0.0) for name in table.train_names)


def _share_kept(manifest: Manifest) -> float:
    """Of all pixels, those with a label; 0 where there is none."""
    pixels: Counter[int] = Counter()
    for entry in manifest.entries():
        pixels.update(entry.labels)
    return 1 - pixels[manifest.classes.ignore_id] / pixels.total() if pixels else 0.0
