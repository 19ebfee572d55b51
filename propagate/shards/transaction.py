"""A run's hold on a store: nobody else writes to it, it is one that this run may write, and shards enter it one by one.

A shard counts as done where the manifest has an entry for it and its file is the one that the entry tells of. Until it
is entered, what an attempt writes lies under a name of its own, and is swept away if that moment never comes.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from jobs.differences import told_differences
from jobs.files import partial_names, remove_leftovers, sync_directory
from propagate.errors import StoreError
from propagate.shards.manifest import (
    FAILURES,
    MANIFEST,
    Manifest,
    ShardEntry,
    ShardPlan,
    load_manifest,
    save_manifest,
)
from propagate.shards.reader import Store
from propagate.shards.schema import SCHEMA_VERSION

LOCK = ".lock"
ATTEMPTS = ".shard-*.h5.*.part"  # the names that `attempt_name` gives
_LEFTOVERS = (
    ATTEMPTS,
    ".sign-*",
    "..sign-*.partial",
    partial_names(MANIFEST),
    partial_names(FAILURES),
    *(f"{name}.new" for name in (MANIFEST, FAILURES)),  # of earlier versions
)


@dataclass(frozen=True, kw_only=True)
class WrittenShard:
    """A shard that is closed and verified, but no part of the store yet. `attempt_file` is the name under which it lies
    there; without a single sample there is no file, and it is None.
    """

    entry: ShardEntry
    attempt_file: str | None


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """A store that is held for writing. `pending` are the shards to write; `manifest` tells which are done."""

    store: Path
    manifest: Manifest
    pending: tuple[ShardPlan, ...]

    def enter(self, plan: ShardPlan, shard: WrittenShard) -> None:
        """Give a written shard its name and its place in the manifest. Raises: StoreError where that cannot be saved.

        Where it replaces an older one, that leaves the manifest first: at no moment does an entry name a file that it
        does not describe.
        """
        manifest = self.manifest
        if manifest.shards.pop(plan.index, None) is not None:
            save_manifest(self.store, manifest)
        with _writing(self.store):
            if shard.attempt_file is None:
                (self.store / plan.name).unlink(missing_ok=True)
            else:
                (self.store / shard.attempt_file).rename(self.store / plan.name)
            sync_directory(self.store)
        manifest.plan = tuple(plan if old.index == plan.index else old for old in manifest.plan)
        manifest.shards[plan.index] = shard.entry
        save_manifest(self.store, manifest)


@contextmanager
def open_transaction(
    store: Path, fresh: Manifest, *, overwrite: bool = False, retry_failed: bool = False
) -> Iterator[Transaction]:
    """Hold a store while it is written, as a context; whatever is entered stays, however the context ends.

    fresh: what this run would begin: where the store was begun the same way, it is continued.
    overwrite: begin anew, whatever the store holds.
    retry_failed: also those shards are pending that have failures, or clips with other inputs than then.

    Raises: StoreError where another run holds the store, it cannot be written, was begun another way, or is none.
    """
    with _locked(store):
        manifest = _begin(store, fresh, overwrite=overwrite, retry_failed=retry_failed)
        pending = _pending(store, manifest, fresh, retry_failed=retry_failed)
        yield Transaction(store=store, manifest=manifest, pending=pending)


def attempt_name(plan: ShardPlan, attempt: str) -> str:
    """The name of a shard while one attempt writes it, in the store; what is left of it is swept away."""
    return f".{plan.name}.{attempt}.part"


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """Hold the store's lock, or refuse. The system drops it with the process, however that ends."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        lock = FileLock(store / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(f"{store}: another run is writing to it; wait for it to end, or choose another OUT") from None
    except OSError as error:
        raise StoreError(f"{store}: cannot be written ({error.strerror}); choose another OUT") from None
    try:
        with _writing(store):
            _sweep(store)
        yield
    finally:
        try:
            # what workers were at when the run ended early; what cannot be swept now, the next run sweeps
            with suppress(OSError):
                _sweep(store)
        finally:
            lock.release()


@contextmanager
def _writing(store: Path) -> Iterator[None]:
    """Whatever the system refuses is a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename or store}: cannot be written ({error.strerror}); see that {store} is there and may be "
            "written to, then run again: finished shards are kept"
        ) from None


def _sweep(store: Path) -> None:
    """Remove what unfinished attempts left behind."""
    remove_leftovers(store, _LEFTOVERS)


def _begin(store: Path, fresh: Manifest, *, overwrite: bool, retry_failed: bool) -> Manifest:
    """The manifest to go on from: the store's own, if it was begun the same way, else the fresh one, saved.

    A store without a finished shard binds nobody, nor does one without a sample a retry: there is nothing to keep.
    """
    with _writing(store):
        is_store = (store / MANIFEST).exists()
        if is_store and overwrite:
            for pattern in ("shard-[0-9]*.h5", FAILURES, MANIFEST):  # last what makes it a store
                for old in store.glob(pattern):
                    old.unlink()
        strangers = [] if is_store else sorted(path.name for path in store.iterdir() if path.name != LOCK)
    if is_store and not overwrite:
        manifest = load_manifest(store)
        if manifest.num_samples or (manifest.shards and not retry_failed):
            _refuse_former_version(store, manifest)
            _refuse_another(store, manifest, fresh, retry_failed=retry_failed)
            return manifest
        save_manifest(store, fresh)
        return fresh
    if strangers:
        raise StoreError(
            f"{store}: holds '{strangers[0]}' but no manifest, so it is no shard store; choose an empty folder"
        )
    save_manifest(store, fresh)
    return fresh


def _refuse_former_version(store: Path, manifest: Manifest) -> None:
    if manifest.version != SCHEMA_VERSION:
        raise StoreError(
            f"{store}: begun with schema version {manifest.version}, this program writes {SCHEMA_VERSION}: it can be "
            "read as ever, but to continue it, use the release that began it; else choose another OUT, or --overwrite "
            "to begin anew"
        )


def _refuse_another(store: Path, old: Manifest, new: Manifest, *, retry_failed: bool) -> None:
    """Raise StoreError unless both were begun with the same settings, versions, classes and inputs.

    A clip that failed may be mended, and a retry takes every clip's inputs as they are now.
    """
    differences = [
        sentence
        for before, after in ((old.settings, new.settings), (old.versions, new.versions))
        for sentence in told_differences(before, after, "in the store")
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
            f"{store}: begun with another configuration ({'; '.join(differences)}); run with the former one to "
            "continue it, choose another OUT, or --overwrite to begin anew"
        )


def _pending(store: Path, manifest: Manifest, fresh: Manifest, *, retry_failed: bool) -> tuple[ShardPlan, ...]:
    """The shards to write: those that are not done, and, on demand, those with failures or other inputs than then.

    The plan stays as it was begun; the inputs of its clips are taken as they are now.
    """
    now = {clip.key: clip for plan in fresh.plan for clip in plan.clips}

    def is_retried(plan: ShardPlan) -> bool:
        has_failures = bool(manifest.shards[plan.index].failures)
        return retry_failed and (has_failures or any(clip != now[clip.key] for clip in plan.clips))

    return tuple(
        replace(plan, clips=tuple(now[clip.key] for clip in plan.clips))
        for plan in manifest.plan
        if not _is_done(store, manifest, plan) or is_retried(plan)
    )


def _is_done(store: Path, manifest: Manifest, plan: ShardPlan) -> bool:
    """Whether the manifest has an entry for the shard, and the entry's file, if it has one, is the right one."""
    entry = manifest.shards.get(plan.index)
    if entry is None or entry.name is None:
        return entry is not None
    try:
        with Store(store, manifest).open(plan.index) as shard:
            shard.require_form()
    except StoreError:
        return False
    return True
