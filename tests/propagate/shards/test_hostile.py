"""Stores that were made to harm: nothing outside the store is read, and nothing larger than the file is believed."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.stores import write_store

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.shards.manifest import load_manifest, save_manifest
from propagate.shards.reader import Shard, open_store
from propagate.shards.schema import columns
from propagate.shards.verify import verify_store
from segtrain.data.index import index_store

MakeSample = Callable[..., Sample]
SIZE = (70, 90)
SECRET = "secret.bin"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make_sample: MakeSample) -> Path:
    """A store, and beside it what it has no business to read."""
    folder = tmp_path_factory.mktemp("original")
    (folder / SECRET).write_bytes(b"\7" * SIZE[0] * SIZE[1] * 2)
    with h5py.File(folder / "other.h5", "w") as other:
        other["label"] = np.full((2, *SIZE), 7, np.uint8)
    write_store(folder / "store", [[make_sample(0), make_sample(1)]], load_classes("camvid"))
    return folder


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path / "store"


def forge(store: Path, change: Callable[[h5py.File], object]) -> None:
    """Change a shard, and enter its new size and digest in the manifest, as who wants it believed would."""
    path = store / "shard-00000.h5"
    with h5py.File(path, "r+") as file:
        change(file)
    manifest = load_manifest(store)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.shards[0] = replace(manifest.shards[0], bytes=path.stat().st_size, sha256=digest)
    save_manifest(store, manifest)


def external_storage(file: h5py.File) -> None:
    place = Path(file.filename).parents[1] / SECRET
    file.create_dataset("label", (2, *SIZE), "u1", external=[(str(place), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, *SIZE), "u1")
    layout[:] = h5py.VirtualSource(str(Path(file.filename).parents[1] / "other.h5"), "label", (2, *SIZE))
    file.create_virtual_dataset("label", layout)


def external_link(file: h5py.File) -> None:
    file["label"] = h5py.ExternalLink(str(Path(file.filename).parents[1] / "other.h5"), "/label")


def soft_link(file: h5py.File) -> None:
    file["label"] = h5py.SoftLink("/confidence")


def contiguous(file: h5py.File) -> None:
    file.create_dataset("label", data=np.zeros((2, *SIZE), np.uint8))


def create(file: h5py.File, **changed: Any) -> None:
    """The array `label` again, but for what is changed."""
    column = columns(SIZE, "encoded")["label"]
    given = {"shape": (2, *SIZE), "maxshape": None, "dtype": "u1", "chunks": column.chunk, "fletcher32": True}
    file.create_dataset("label", **{**given, "compression": "gzip", **changed})


@pytest.mark.parametrize(
    ("lead", "said"),
    [
        (external_storage, "'label': is not stored in chunks of this file"),
        (virtual, "'label': is not stored in chunks of this file"),
        (external_link, "'label': lies behind a link"),
        (soft_link, "'label': lies behind a link"),
        (contiguous, "'label': is not stored in chunks of this file"),
        (lambda file: create(file, compression="lzf"), "'label': has other filters than it should"),
        (lambda file: create(file, fletcher32=False), "'label': has other filters than it should"),
        (lambda file: create(file, dtype="i1"), "'label': is of type int8, expected u1"),
        (
            lambda file: create(file, chunks=(2, 70, 90)),
            r"'label': has chunks of \(2, 70, 90\), expected \(1, 70, 90\)",
        ),
        (lambda file: create(file, shape=(2, 70, 91)), r"'label': has rows of \(70, 91\), expected \(70, 90\)"),
        (lambda file: create(file, shape=(3, 70, 90)), "'label': has 3 rows, the manifest says 2 samples"),
        (lambda file: file.create_group("label"), "label"),
    ],
)
def test_an_array_that_leads_elsewhere_or_has_another_form_is_refused(
    store: Path, lead: Callable[[h5py.File], object], said: str
) -> None:
    def change(file: h5py.File) -> None:
        del file["label"]
        lead(file)

    forge(store, change)
    with pytest.raises(StoreError, match=rf"shard-00000\.h5: not a shard as its schema says \(.*{said}"):
        list(open_store(store).shards())
    (fault,) = verify_store(store).faults
    assert "not a shard as its schema says" in fault
    shard = open_store(store).open(0)  # as a loader that opens one of many shards
    with shard, pytest.raises(StoreError, match=said):
        shard.sample(0)


def change_at(name: str, place: Any, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][place] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_at("offset", 0, 5), r"holds offsets {\S.*5: 1.*}, the manifest says {0: 1, 1: 1}"),
        (change_at("origin", 0, 2), "holds origins {"),
        (change_at("cells/count", 0, 1), "holds pixels by label id {"),
        (change_at("label", (1, 0, 0), 11), "sample 1 is not what its digest says"),
        (change_at("confidence", (1, 0, 0), 15), "sample 1 is not what its digest says"),
        (change_at("image/data", slice(40, 44), 0), "image of sample 0: "),
    ],
)
def test_content_that_was_changed_with_its_file_s_digest_is_found(
    store: Path, change: Callable[[h5py.File], object], said: str
) -> None:
    forge(store, change)
    assert any(re.search(f"shard-00000.h5: {said}", fault) for fault in verify_store(store).faults)


def test_a_group_that_lies_in_another_file_is_refused(store: Path) -> None:
    def change(file: h5py.File) -> None:
        with h5py.File(Path(file.filename).parents[1] / "other.h5", "a") as other:
            file.copy("cells", other)
        del file["cells"]
        file["cells"] = h5py.ExternalLink(str(Path(file.filename).parents[1] / "other.h5"), "/cells")

    forge(store, change)
    with pytest.raises(StoreError, match="'cells/start': lies behind a link"):
        list(open_store(store).shards())


@pytest.mark.parametrize("name", ["more", "cells/more"])
def test_more_than_the_schema_has_is_refused(store: Path, name: str) -> None:
    forge(store, lambda file: file.create_dataset(name, data=[1]))
    with pytest.raises(StoreError, match=r"has 16 members, expected 15|has 8 members, expected 7"):
        list(open_store(store).shards())


@pytest.mark.parametrize(("name", "value"), [("cells/size", 2**40), ("cells/size", -1), ("cells/start", 5)])
def test_sizes_beyond_the_file_are_an_error_before_memory_is_asked_for(store: Path, name: str, value: int) -> None:
    def change(file: h5py.File) -> None:
        file[name][1] = value

    forge(store, change)
    with pytest.raises(StoreError, match=r"'cells/start' and 'cells/size' are not of its .* rows"):
        index_store(open_store(store), 64)


@pytest.mark.parametrize("name", ["cells/cell", "image/data"])
def test_arrays_larger_than_their_file_could_hold_are_refused(store: Path, name: str) -> None:
    forge(store, lambda file: file[name].resize(2**40, axis=0))
    with pytest.raises(StoreError, match=f"'{name}': is said to have {2**40} rows, more than a file of"):
        list(open_store(store).shards())


def test_an_image_outside_the_data_is_an_error(store: Path) -> None:
    def change(file: h5py.File) -> None:
        file["image/size"][0] = 2**40

    forge(store, change)
    with pytest.raises(StoreError, match=r"'image/start' and 'image/size' are not of its .* rows"):
        list(open_store(store).samples())


@pytest.mark.parametrize("name", ["key", "source_key", "group", "second_source_key"])
@pytest.mark.parametrize(("value", "said"), [(b"\xff\xfe", "not UTF-8"), (b"a\0b", "with a NUL character")])
def test_texts_that_are_none_are_an_error(store: Path, name: str, value: bytes, said: str) -> None:
    def change(file: h5py.File) -> None:
        file[name][0] = value

    forge(store, change)
    with pytest.raises(StoreError, match=rf"shard-00000\.h5: '{name}' holds a text .*{said}"):
        list(open_store(store).records())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("origin", 9, "'origin' holds 9"), ("score", np.nan, "a score that is not"), ("pairing", b"both", "pairing")],
)
def test_values_that_there_are_not_are_an_error(store: Path, name: str, value: Any, said: str) -> None:
    def change(file: h5py.File) -> None:
        file[name][0] = value

    forge(store, change)
    with pytest.raises(StoreError, match=said):
        list(open_store(store).records())


def edit(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest and mend its digest."""
    path = store / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    data["sha256"] = "0" * 64
    text = json.dumps(data)
    path.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest(), 1), encoding="utf-8")


@pytest.mark.parametrize("name", ["/etc/passwd", "../other.h5", "shard-00001.h5", "a\0b", "\ud800", 3, ["x"]])
def test_names_that_are_not_the_plans_are_refused(store: Path, name: Any) -> None:
    edit(store, lambda data: data["shards"]["0"].update(name=name))
    with pytest.raises(StoreError, match=r"manifest\.json: not what `propagate run` writes \(.*its digest is right"):
        open_store(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("plan"),
        lambda data: data.update(plan=None),
        lambda data: data.update(plan=[1]),
        lambda data: data["plan"][0].update(index=1),
        lambda data: data["plan"][0].update(size=[1, 2, 3]),
        lambda data: data["plan"][0]["clips"][0].update(key=7),
        lambda data: data.update(shards=[]),
        lambda data: data["shards"].update({"x": data["shards"]["0"]}),
        lambda data: data["shards"].update({"00": data["shards"]["0"]}),
        lambda data: data["shards"].update({"1": data["shards"]["0"]}),
        lambda data: data["shards"]["0"].update(bytes="many"),
        lambda data: data["shards"]["0"].update(bytes=-1),
        lambda data: data["shards"]["0"].update(bytes=True),
        lambda data: data["shards"]["0"].update(samples=2**70),
        lambda data: data["shards"]["0"].update(samples=1.0),
        lambda data: data["shards"]["0"].update(size=[2**40, 2**40]),
        lambda data: data["shards"]["0"].update(offsets={"0": 1}),
        lambda data: data["shards"]["0"].update(origins={"imagined": 2}),
        lambda data: data["shards"]["0"].update(labels={"300": 1}),
        lambda data: data["shards"]["0"].update(failures=[{"clip": "a"}]),
        lambda data: data["shards"]["0"].update(more=1),
        lambda data: data["classes"].update(classes=[]),
        lambda data: data["classes"].update(ignore_id=[1]),
        lambda data: data["classes"].update(ignore_id=float("inf")),
        lambda data: data.update(classes=None),
        lambda data: data.update(settings=[]),
        lambda data: data.update(settings={"frames": "many"}),
        lambda data: data.update(split=None),
        lambda data: data.update(store_id=None),
        lambda data: data.update(schema_version=[2]),
        lambda data: data.update(schema_version=True),
    ],
)
def test_a_manifest_that_was_edited_is_one_sentence(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(store, change)
    with pytest.raises(StoreError, match=r"manifest\.json: ") as caught:
        open_store(store).manifest.summary()
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value), "its digest is right"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"sha256": "", "schema_version": 2}', '{"sha256": []}', "[]", "\x00"])
def test_what_is_no_manifest_is_damaged(store: Path, text: str) -> None:
    (store / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"manifest\.json: damaged"):
        open_store(store)


def test_a_fifo_in_the_manifests_place_is_no_manifest(store: Path) -> None:
    (store / "manifest.json").unlink()
    os.mkfifo(store / "manifest.json")
    with pytest.raises(StoreError, match=r"manifest\.json: .*no regular file"):
        open_store(store)


def test_what_shards_of_today_hold_is_of_the_form_that_is_asked_for(store: Path) -> None:
    with open_store(store).open(0) as shard:
        assert isinstance(shard, Shard)
        shard.require_form()
