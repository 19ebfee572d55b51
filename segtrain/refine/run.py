"""A store of refined samples: another store's samples -> clips -> the same job that writes propagated labels."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.pool.places import Staff
from jobs.training.runtime import open_runtime
from propagate.errors import StoreError
from propagate.job.plan import make_plan
from propagate.job.run import VERSIONS, RunSummary, make_store
from propagate.shards.manifest import Manifest
from segtrain.pseudo.labelling import Teacher
from segtrain.refine.refining import CARRIED, CHANGED, DOUBTED, LABELLED, Refining
from segtrain.refine.settings import RefineSettings
from segtrain.refine.stored import clips_of_store, open_finished

REFINING = "1"  # how labels are refined: the next number, where that changes, so that no store holds two ways
COMMAND = "segtrain refine"


@dataclass(frozen=True, kw_only=True)
class RefineSummary:
    """How a run ended; teacher: the digest of its weights. Of the samples that this run has refined: pixels that had a
    label, those that have another one now, and those that have none, since both doubt.
    """

    run: RunSummary
    teacher: str
    labelled: int
    changed: int
    doubted: int


def write_refined(
    out: Path,
    store: Path,
    teacher: Teacher,
    settings: RefineSettings | None = None,
    *,
    clips_per_shard: int | None = None,
    engine: str = "ray",
    num_workers: int | None = None,
    address: str | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    on_plan: Callable[[int], None] = lambda _samples: None,
    on_started: Callable[[Sequence[Staff]], None] = lambda _staff: None,
    on_progress: Callable[[int], None] = lambda _samples: None,
) -> RefineSummary:
    """Write a store's samples into another one, carried labels refined by a network; or what is missing of it.

    store: a finished one; its samples of other origins are copied as they are. The rest is as in `propagate.job.run`.

    Raises: CheckpointError, also where the network knows other classes; StoreError, InferenceError, JobError.
    """
    settings = settings or RefineSettings()
    source = open_finished(store)
    manifest = source.manifest
    if out.resolve() == store.resolve():
        raise StoreError(f"{out}: the store that is refined; choose another OUT")
    if not sum(entry.origins.get(origin, 0) for entry in manifest.entries() for origin in CARRIED):
        found = ", ".join(sorted({origin for entry in manifest.entries() for origin in entry.origins})) or "none"
        raise StoreError(
            f"{store}: nothing to refine: samples of origin {found}, expected {' or '.join(CARRIED)}; write some with "
            "`propagate run --frames 1` or more"
        )
    teacher.opened(open_runtime("cpu", teacher.dtype), manifest.classes)
    with source.open(source.indices[0]) as shard:
        images = shard.images
    clips = clips_of_store(source)
    refining = Refining(teacher=teacher, shares=shares_of(manifest), doubt=settings.doubt, images=images)
    described = {
        "command": COMMAND,
        "store": manifest.store_id,
        "content": manifest.content,
        **{name: value for name, value in manifest.settings.items() if name in ("frames", "offsets", "source")},
        **refining.fingerprint(),
        "clips_per_shard": clips_per_shard,
    }
    counts: Counter[str] = Counter()
    run = make_store(
        out,
        Manifest(
            dataset=manifest.dataset,
            split=manifest.split,
            settings=described,
            versions={**VERSIONS, "refining": REFINING},
            classes=manifest.classes,
            plan=make_plan(clips, clips_per_shard),
        ),
        clips,
        refining,
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
    return RefineSummary(
        run=run,
        teacher=str(described["teacher"]),
        labelled=counts[LABELLED],
        changed=counts[CHANGED],
        doubted=counts[DOUBTED],
    )


def shares_of(manifest: Manifest) -> tuple[float, ...]:
    """Of all pixels of a store that have a label, the share of each class, by train id; 0 where there is none."""
    train_id_of = manifest.classes.train_id_of
    pixels: Counter[int] = Counter()
    for entry in manifest.entries():
        for label_id, count in entry.labels.items():
            pixels[int(train_id_of[label_id])] += count
    counts = [pixels[train_id] for train_id in range(len(manifest.classes.train_names))]
    return tuple(count / max(sum(counts), 1) for count in counts)
