"""A shard is believed only where it belongs: in its store, in its place, of its size."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.stores import write_store

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.export import export_store
from propagate.scoring.evaluate import evaluate_store
from propagate.shards.manifest import load_manifest, save_manifest
from propagate.shards.reader import Store, open_store
from propagate.shards.verify import verify_store
from segtrain.data.index import index_store
from segtrain.data.store_samples import open_store_samples

MakeSample = Callable[..., Sample]
CAMVID = load_classes("camvid")
READERS: dict[str, Callable[[Path], object]] = {
    "info": lambda path: list(open_store(path).shards()),
    "export": lambda path: export_store(open_store(path), path.with_name("tree")),
    "evaluate": lambda path: evaluate_store(open_store(path), lambda _keys: {}),
    "index": lambda path: index_store(open_store(path), 64),
    "fit": open_store_samples,
}


@pytest.fixture
def two(tmp_path: Path, make_sample: MakeSample) -> Path:
    """A store of two shards whose files have one size."""
    path = write_store(tmp_path / "store", [[sample_of(make_sample, 1)], [sample_of(make_sample, 2)]], CAMVID)
    sizes = {(path / f"shard-0000{index}.h5").stat().st_size for index in (0, 1)}
    assert len(sizes) == 1
    return path


def sample_of(make_sample: MakeSample, number: int) -> Sample:
    """Samples of different keys and images, whose files are as large as one another's."""
    return replace(make_sample(7, raw=True), key=f"seq_{number:06d}")


def swap(store: Path) -> None:
    first, second = store / "shard-00000.h5", store / "shard-00001.h5"
    first.rename(store / "third")
    second.rename(first)
    (store / "third").rename(second)


@pytest.mark.parametrize("reader", READERS)
def test_two_swapped_shards_are_an_error_to_every_reader(two: Path, reader: str) -> None:
    swap(two)
    with pytest.raises(StoreError, match=r"shard-00000\.h5: cannot be opened as .*: it is shard 1 of its store"):
        READERS[reader](two)


def test_a_shard_of_another_store_is_an_error(two: Path, tmp_path: Path, make_sample: MakeSample) -> None:
    samples = [[sample_of(make_sample, number)] for number in (1, 2)]
    other = write_store(tmp_path / "other", samples, CAMVID, split="val")
    assert load_manifest(other).content == load_manifest(two).content
    shutil.copy(other / "shard-00001.h5", two / "shard-00001.h5")
    with pytest.raises(StoreError, match=r"shard-00001\.h5: cannot be opened as .*: it is a shard of another store"):
        list(open_store(two).shards())


def test_a_loader_that_was_open_before_the_store_was_written_anew_reads_none_of_it(
    two: Path, tmp_path: Path, make_sample: MakeSample
) -> None:
    dataset = open_store_samples(two)
    samples = [[sample_of(make_sample, number)] for number in (3, 4)]
    other = write_store(tmp_path / "other", samples, CAMVID)
    for name in ("manifest.json", "shard-00000.h5", "shard-00001.h5"):
        (other / name).replace(two / name)
    for number in (0, 1):
        with pytest.raises(StoreError, match=r"the store was written anew since it was opened: open it again"):
            dataset.read(number)
    assert [record.key for record in open_store_samples(two).records] == ["seq_000003", "seq_000004"]


def test_stores_of_one_configuration_have_one_id_and_others_another(two: Path) -> None:
    manifest = load_manifest(two)
    again = replace(manifest, store_id="", shards={})
    assert again.store_id == manifest.store_id
    assert replace(again, store_id="", settings={"frames": 3}).store_id != manifest.store_id


def test_the_id_of_a_store_is_no_part_of_its_content(two: Path, tmp_path: Path, make_sample: MakeSample) -> None:
    samples = [[sample_of(make_sample, number)] for number in (1, 2)]
    other = write_store(tmp_path / "other", samples, CAMVID, split="val")
    assert load_manifest(other).store_id != load_manifest(two).store_id
    assert load_manifest(other).content == load_manifest(two).content


def test_another_class_table_than_the_manifests_is_an_error(two: Path) -> None:
    manifest = load_manifest(two)
    classes = tuple(replace(each, name=f"{each.name}s") for each in CAMVID.classes)
    save_manifest(two, replace(manifest, classes=replace(CAMVID, classes=classes)))
    with pytest.raises(StoreError, match="it was written with another class table than the manifest's"):
        list(open_store(two).shards())


def test_labels_that_came_from_a_clip_that_is_not_the_shards_are_an_error(two: Path) -> None:
    manifest = load_manifest(two)
    plan = tuple(replace(each, clips=(replace(each.clips[0], key="other"),)) for each in manifest.plan)
    save_manifest(two, replace(manifest, plan=plan))
    with pytest.raises(StoreError, match=r"shard-00000\.h5: holds samples of 'seq_000000', .*not in the plan"):
        list(open_store(two).records())


def test_labels_may_come_from_a_clip_of_another_shard(tmp_path: Path, make_sample: MakeSample) -> None:
    fused = make_sample(
        3, source_key="seq_000005", offset=-2, origin="fused", second_source_key="seq_000000", second_offset=3
    )
    store = write_store(
        tmp_path / "fused", [[make_sample(0), fused], [make_sample(5, source_key="seq_000005", offset=0)]], CAMVID
    )
    manifest = load_manifest(store)
    first, second = manifest.plan
    first = replace(first, clips=tuple(clip for clip in first.clips if clip.key == "seq_000000"))
    save_manifest(store, replace(manifest, plan=(first, second)))
    assert [record.source_key for record in open_store(store).records()] == ["seq_000000", *2 * ["seq_000005"]]
    assert verify_store(store).faults == ()
    second = replace(second, clips=(replace(second.clips[0], key="other"),))
    save_manifest(store, replace(manifest, plan=(first, second)))
    with pytest.raises(StoreError, match=r"shard-00000\.h5: holds samples of 'seq_000005', which is not in the plan"):
        list(open_store(store).records())


def test_verify_names_a_shard_that_is_another_stores_with_a_right_digest(two: Path) -> None:
    manifest = load_manifest(two)
    swap(two)
    for index, other in ((0, 1), (1, 0)):
        entry = replace(load_manifest(two).shards[other], name=manifest.plan[index].name)
        manifest.shards[index] = entry
    save_manifest(two, manifest)
    faults = verify_store(two).faults
    assert len(faults) == 2
    assert "it is shard 1 of its store, and lies in the place of shard 0" in faults[0]


def test_a_fifo_in_a_shards_place_is_no_shard(two: Path) -> None:
    shard = two / "shard-00000.h5"
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(StoreError, match=r"shard-00000\.h5: cannot be opened \(it is no regular file\)"):
        list(Store(two, load_manifest(two)).shards())
