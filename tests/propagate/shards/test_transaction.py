"""One run's hold on a store: what is done, what is pending, what is swept away, and who is refused."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.shards.manifest import Failure, Manifest, PlannedClip, ShardEntry, ShardPlan, load_manifest
from propagate.shards.transaction import Transaction, WrittenShard, attempt_name, open_transaction
from propagate.shards.verify import verify_store
from propagate.shards.writer import ShardWriter

SIZE = (70, 90)
Write = Callable[..., WrittenShard]


def make_manifest(*, frames: int = 5, inputs: str = "1f", names: str = "abc") -> Manifest:
    """A plan of one clip for each shard."""
    clips = [PlannedClip(key=name, inputs=inputs, before=0, after=0) for name in names]
    return Manifest(
        dataset="camvid",
        split="train",
        settings={"frames": frames},
        versions={"numpy": np.__version__},
        classes=load_classes("camvid"),
        plan=tuple(ShardPlan(index=index, size=SIZE, clips=(clip,)) for index, clip in enumerate(clips)),
    )


@pytest.fixture
def write(make_sample: Callable[..., Sample], tmp_path: Path) -> Write:
    """Writes the shard of a plan as an attempt would."""

    def call(plan: ShardPlan, *, failures: tuple[Failure, ...] = (), attempt: str = "1") -> WrittenShard:
        place = load_manifest(tmp_path).place(plan.index)
        path = tmp_path / attempt_name(plan, attempt)
        with ShardWriter(path, SIZE, "encoded", place) as writer:
            writer.add(make_sample(plan.index, source_key=plan.clips[0].key))
            entry = ShardEntry(name=plan.name, failures=failures, **asdict(writer.finish()))
        return WrittenShard(entry=entry, attempt_file=path.name)

    return call


def empty_shard() -> WrittenShard:
    """What becomes of a clip that fails."""
    entry = ShardEntry(
        name=None,
        sha256="",
        content=hashlib.sha256().hexdigest(),
        bytes=0,
        samples=0,
        size=SIZE,
        offsets={},
        origins={},
        labels={},
        failures=(Failure(clip="a", offset=0, reason="truncated"),),
    )
    return WrittenShard(entry=entry, attempt_file=None)


def pending(store: Path, fresh: Manifest, *, retry_failed: bool = False) -> list[int]:
    with open_transaction(store, fresh, retry_failed=retry_failed) as transaction:
        return [plan.index for plan in transaction.pending]


def finish(transaction: Transaction, write: Write) -> None:
    for plan in transaction.pending:
        transaction.enter(plan, write(plan))


@pytest.fixture
def store(tmp_path: Path, write: Write) -> Path:
    """A finished store."""
    with open_transaction(tmp_path, make_manifest()) as transaction:
        finish(transaction, write)
    return tmp_path


def test_a_shard_is_pending_until_it_is_entered(tmp_path: Path, write: Write) -> None:
    with open_transaction(tmp_path, make_manifest()) as transaction:
        assert [plan.index for plan in transaction.pending] == [0, 1, 2]
        assert not load_manifest(tmp_path).shards
        transaction.enter(transaction.pending[1], write(transaction.pending[1]))
        assert list(load_manifest(tmp_path).shards) == [1]
    assert (tmp_path / "shard-00001.h5").exists()
    assert pending(tmp_path, make_manifest()) == [0, 2]


def test_what_was_entered_stays_and_the_rest_is_swept_when_a_run_ends_early(tmp_path: Path, write: Write) -> None:
    def interrupted() -> None:
        with open_transaction(tmp_path, make_manifest()) as transaction:
            first, second, _ = transaction.pending
            transaction.enter(first, write(first))
            write(second)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".lock", "failures.jsonl", "manifest.json", "shard-00000.h5"]
    assert pending(tmp_path, make_manifest()) == [1, 2]
    assert verify_store(tmp_path).faults == ()


def test_what_a_killed_run_left_is_swept_before_the_next_begins(store: Path) -> None:
    leftovers = [attempt_name(make_manifest().plan[0], "77aa"), "manifest.json.new", "failures.jsonl.new"]
    leftovers += [".sign-0123456789ab", "..sign-0123456789ab.01234567.partial"]
    for name in leftovers:
        (store / name).write_bytes(b"half")
    with open_transaction(store, make_manifest()):
        assert not [name for name in leftovers if (store / name).exists()]


def test_a_shard_whose_file_is_gone_or_shorter_is_not_done(store: Path) -> None:
    (store / "shard-00000.h5").unlink()
    with (store / "shard-00002.h5").open("r+b") as file:
        file.truncate(100)
    assert pending(store, make_manifest()) == [0, 2]


def test_a_shard_without_a_sample_is_done_without_a_file(tmp_path: Path, write: Write) -> None:
    with open_transaction(tmp_path, make_manifest()) as transaction:
        finish(transaction, lambda plan: write(plan) if plan.index else empty_shard())
    assert not (tmp_path / "shard-00000.h5").exists()
    assert pending(tmp_path, make_manifest()) == []
    assert pending(tmp_path, make_manifest(), retry_failed=True) == [0]


def test_a_retry_takes_shards_with_failures_or_other_inputs_and_enters_the_inputs_of_now(
    store: Path, write: Write
) -> None:
    old, new = make_manifest(), make_manifest(inputs="2e")
    changed = replace(old, plan=(*old.plan[:2], new.plan[2]))
    assert pending(store, old, retry_failed=True) == []
    with open_transaction(store, changed, retry_failed=True) as transaction:
        assert transaction.pending == (new.plan[2],)
        finish(transaction, write)
    assert load_manifest(store).plan == changed.plan
    assert pending(store, changed) == []


def test_a_shard_that_replaces_another_takes_its_place_and_an_empty_one_its_file(store: Path, write: Write) -> None:
    with open_transaction(store, make_manifest()) as transaction:
        first, second, _ = transaction.manifest.plan
        failure = Failure(clip="a", offset=1, reason="truncated")
        transaction.enter(first, write(first, failures=(failure,)))
        transaction.enter(second, empty_shard())
    assert load_manifest(store).shards[0].failures == (failure,)
    assert not (store / "shard-00001.h5").exists()
    assert verify_store(store).faults == ()


def test_no_entry_names_a_file_that_it_does_not_describe(store: Path, write: Write) -> None:
    with open_transaction(store, make_manifest()) as transaction:
        plan = transaction.manifest.plan[1]
        shard = write(plan)
        (store / str(shard.attempt_file)).unlink()
        with pytest.raises(StoreError, match=r"shard-00001.h5.1.part: cannot be written \(No such file or directory\)"):
            transaction.enter(plan, shard)
    assert sorted(load_manifest(store).shards) == [0, 2]


def test_only_one_run_holds_a_store(tmp_path: Path) -> None:
    with (
        open_transaction(tmp_path, make_manifest()),
        pytest.raises(StoreError, match="another run is writing to it; wait for it to end, or choose another OUT"),
        open_transaction(tmp_path, make_manifest()),
    ):
        pass
    with open_transaction(tmp_path, make_manifest()):
        pass


@pytest.mark.parametrize(
    ("fresh", "difference"),
    [
        (make_manifest(frames=3), "frames: 5 in the store, 3 now"),
        (replace(make_manifest(), versions={}), "numpy: .* in the store, None now"),
        (replace(make_manifest(), classes=load_classes("cityscapes")), "class table: 'camvid' in the store differs"),
        (make_manifest(inputs="2e"), "the inputs of 3 clips, first a: files were added, removed or changed"),
        (make_manifest(names="abcd"), "the inputs of 1 clips, first d"),
    ],
)
def test_a_store_that_was_begun_another_way_is_refused_and_left_alone(
    store: Path, fresh: Manifest, difference: str
) -> None:
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    with pytest.raises(StoreError, match=rf"begun with another configuration \({difference}.*choose another OUT"):
        pending(store, fresh)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before
    assert pending(store, make_manifest()) == []


def test_a_store_without_a_finished_shard_binds_nobody(tmp_path: Path) -> None:
    assert pending(tmp_path, make_manifest()) == [0, 1, 2]
    assert pending(tmp_path, make_manifest(frames=3, names="xy")) == [0, 1]
    assert load_manifest(tmp_path).settings == {"frames": 3}


def test_a_store_without_a_sample_does_not_bind_a_retry(tmp_path: Path) -> None:
    with open_transaction(tmp_path, make_manifest()) as transaction:
        for plan in transaction.pending:
            transaction.enter(plan, empty_shard())
    mended = replace(make_manifest(frames=3, names="xy"), classes=load_classes("cityscapes"), store_id="")
    with pytest.raises(StoreError, match="begun with another configuration"):
        pending(tmp_path, mended)
    assert pending(tmp_path, make_manifest()) == []
    assert pending(tmp_path, mended, retry_failed=True) == [0, 1]
    assert load_manifest(tmp_path).classes == load_classes("cityscapes")


def test_overwriting_begins_anew_and_leaves_what_is_not_the_stores(store: Path) -> None:
    own = ["holiday.jpg", "mine.h5", "shard-notes.h5", "shard-00000.h5.bak"]
    for name in own:
        (store / name).write_bytes(b"sun")
    with open_transaction(store, make_manifest(frames=3), overwrite=True) as transaction:
        assert [plan.index for plan in transaction.pending] == [0, 1, 2]
    assert not list(store.glob("shard-0*.h5"))
    assert [(store / name).read_bytes() for name in own] == [b"sun"] * len(own)
    assert load_manifest(store).settings == {"frames": 3}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_no_store(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"sun")
    with (
        pytest.raises(StoreError, match=r"holds 'holiday\.jpg' but no manifest, so it is no shard store"),
        open_transaction(tmp_path, make_manifest(), overwrite=overwrite),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "holiday.jpg"]


def test_a_folder_named_like_a_leftover_is_left_alone(tmp_path: Path) -> None:
    with open_transaction(tmp_path, make_manifest()):
        pass
    (tmp_path / ".shard-00000.h5.1.part").mkdir()
    (tmp_path / ".manifest.json.1.partial").mkdir()
    with open_transaction(tmp_path, make_manifest()) as transaction:
        assert len(transaction.pending) == 3
    assert (tmp_path / ".shard-00000.h5.1.part").is_dir()
