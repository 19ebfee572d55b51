"""A store's folder that is gone, or may not be written to any more, during a run: one sentence, and no lock is kept."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.shards.manifest import Manifest, PlannedClip, ShardEntry, ShardPlan
from propagate.shards.transaction import LOCK, WrittenShard, attempt_name, open_transaction
from propagate.shards.writer import ShardWriter

MakeSample = Callable[..., Sample]
PLAN = ShardPlan(index=0, size=(70, 90), clips=(PlannedClip(key="a", inputs="1f", before=0, after=0),))
ENTRY = ShardEntry(
    name=PLAN.name,
    sha256="",
    content="",
    bytes=1,
    samples=1,
    size=(70, 90),
    offsets={0: 1},
    origins={"annotated": 1},
    labels={0: 6300},
    failures=(),
)
SHARD = WrittenShard(entry=ENTRY, attempt_file=attempt_name(PLAN, "1"))


@pytest.fixture
def fresh() -> Manifest:
    about = {"dataset": "camvid", "split": "train", "settings": {}, "versions": {}}
    return Manifest(**about, classes=load_classes("camvid"), plan=(PLAN,))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """What happens to who lost the permission to write in a folder; root, who may all, needs this to see it."""

    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    for name in names:
        monkeypatch.setattr(Path, name, refused)


def require_unlocked(store: Path) -> None:
    lock = FileLock(store / LOCK)
    lock.acquire(timeout=0)
    lock.release()


def test_a_folder_that_is_removed_while_it_is_written_is_one_sentence(store: Path, fresh: Manifest) -> None:
    def removed() -> None:
        with open_transaction(store, fresh) as transaction:
            shutil.rmtree(store)
            transaction.enter(PLAN, SHARD)

    with pytest.raises(StoreError, match=rf"{SHARD.attempt_file}: cannot be written \(No such file or directory\)"):
        removed()
    with open_transaction(store, fresh) as transaction:
        assert transaction.pending == (PLAN,)


def test_a_lost_permission_is_one_sentence_and_leaves_no_lock(
    store: Path, fresh: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        with open_transaction(store, fresh) as transaction:
            (store / str(SHARD.attempt_file)).write_bytes(b"half")
            refuse(monkeypatch, "rename", "unlink")
            transaction.enter(PLAN, SHARD)

    with pytest.raises(
        StoreError, match=r"cannot be written \(Permission denied\); see that .*finished shards are kept"
    ):
        refused()
    require_unlocked(store)


def test_the_sweep_hides_no_error_and_what_it_leaves_is_swept_by_the_next_run(
    store: Path, fresh: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = store / str(SHARD.attempt_file)

    def interrupted() -> None:
        with open_transaction(store, fresh):
            leftover.write_bytes(b"half")
            refuse(monkeypatch, "unlink")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    require_unlocked(store)
    with (
        pytest.raises(StoreError, match=r"part: cannot be written \(Permission denied\)"),
        open_transaction(store, fresh),
    ):
        pass
    require_unlocked(store)
    monkeypatch.undo()
    with open_transaction(store, fresh):
        assert not leftover.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_store_that_cannot_be_begun_is_one_sentence(
    store: Path, fresh: Manifest, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    with open_transaction(store, fresh):
        pass
    refuse(monkeypatch, "unlink", "iterdir", "replace")
    with (
        pytest.raises(StoreError, match=r"cannot be written \(Permission denied\)"),
        open_transaction(store, fresh, overwrite=overwrite),
    ):
        pass
    require_unlocked(store)


def test_a_folder_that_is_called_like_a_leftover_is_nobodys(store: Path, fresh: Manifest) -> None:
    (store / str(SHARD.attempt_file)).mkdir(parents=True)
    with pytest.raises(StoreError, match=r"holds .* but no manifest"), open_transaction(store, fresh):
        pass
    (store / str(SHARD.attempt_file)).rename(store.with_name("mine"))
    with open_transaction(store, fresh):
        pass
    store.with_name("mine").rename(store / str(SHARD.attempt_file))
    with open_transaction(store, fresh):
        assert (store / str(SHARD.attempt_file)).is_dir()


def test_a_shard_whose_folder_is_removed_while_it_is_written_is_one_sentence(
    store: Path, fresh: Manifest, make_sample: MakeSample
) -> None:
    store.mkdir()

    def removed() -> None:
        with ShardWriter(store / "s.h5", (70, 90), "encoded", fresh.place(0)) as writer:
            writer.add(make_sample(0))
            shutil.rmtree(store)
            writer.finish()

    with pytest.raises(StoreError, match=r"s\.h5: cannot be read back \(No such file or directory\)"):
        removed()


@pytest.mark.parametrize(("key", "said"), [("a\0b", "holds a NUL character"), ("a\udcff", "is not UTF-8")])
def test_keys_that_no_reader_would_take_are_refused(
    store: Path, fresh: Manifest, make_sample: MakeSample, key: str, said: str
) -> None:
    store.mkdir()
    with (
        pytest.raises(StoreError, match=rf"key .* {said}; rename the files"),
        ShardWriter(store / "s.h5", (70, 90), "encoded", fresh.place(0)) as writer,
    ):
        writer.add(make_sample(0, key=key))
