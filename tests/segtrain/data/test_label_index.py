"""The index of plain label maps: by any number of processes the same, read once, and never from a damaged cache."""

import logging
from pathlib import Path

import numpy as np
import pytest

from propagate.data.classes import ClassTable, load_classes
from propagate.data.clip import Label, Resource
from propagate.data.images import encode_png
from propagate.errors import InputError
from propagate.shards.reader import SampleRecord
from segtrain.data.centroids import TileGrid, centroids_of_label_map
from segtrain.data.index import ClassIndex
from segtrain.data.index_cache import cache_key, default_cache
from segtrain.data.label_index import index_label_files
from segtrain.errors import DataError

CAMVID = load_classes("camvid")
SIZES = [(70, 90), (64, 64), (130, 40), (20, 30), (100, 200)]


def label_map(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 12, SIZES[number % len(SIZES)], np.uint8)


def record(number: int) -> SampleRecord:
    key = f"seq_{number:06d}"
    return SampleRecord(key=key, source_key=key, group="seq", offset=0, pairing="label", score=1.0, origin="annotated")


RECORDS = [record(number) for number in range(20)]


def save_label(root: Path, name: str, values: np.ndarray) -> Label:
    data = encode_png(values)
    (root / name).write_bytes(data)
    return Label(Resource(root=str(root), name=name, size=len(data)))


@pytest.fixture
def labels(tmp_path: Path) -> list[Label]:
    root = tmp_path / "labels"
    root.mkdir()
    return [save_label(root, f"{number:06d}.png", label_map(number)) for number in range(20)]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class Counted:
    """Counts the label maps that were read."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, count: int) -> None:
        self.read += count


def expected() -> ClassIndex:
    maps = [label_map(number) for number in range(20)]
    parts = [centroids_of_label_map(label, CAMVID.train_id_of, TileGrid(*label.shape, 64)) for label in maps]
    return ClassIndex.of(RECORDS, CAMVID, parts)


def assert_same(a: ClassIndex, b: ClassIndex) -> None:
    assert (a.records, a.class_names) == (b.records, b.class_names)
    for name, column in vars(a.centroids).items():
        np.testing.assert_array_equal(getattr(b.centroids, name), column)
        assert getattr(b.centroids, name).dtype == column.dtype


@pytest.mark.parametrize("num_processes", [None, 1, 2])
def test_any_number_of_processes_finds_the_same(labels: list[Label], cache: Path, num_processes: int | None) -> None:
    count = Counted()
    index = index_label_files(RECORDS, labels, CAMVID, 64, cache=cache, num_processes=num_processes, on_progress=count)
    assert_same(index, expected())
    assert count.read == 20


def test_label_maps_are_read_once(labels: list[Label], cache: Path) -> None:
    index_label_files(RECORDS, labels, CAMVID, 64, cache=cache)
    count = Counted()
    assert_same(index_label_files(RECORDS, labels, CAMVID, 64, cache=cache, on_progress=count), expected())
    assert count.read == 0


def test_other_labels_classes_and_tiles_are_read_anew(labels: list[Label], cache: Path) -> None:
    def num_read(records: list[SampleRecord], labels: list[Label], classes: ClassTable, tile: int) -> int:
        count = Counted()
        index_label_files(records, labels, classes, tile, cache=cache, on_progress=count)
        return count.read

    assert num_read(RECORDS, labels, CAMVID, 64) == 20
    assert num_read(RECORDS, labels, CAMVID, 128) == 20
    assert num_read(RECORDS, labels, ClassTable.from_json({**CAMVID.to_json(), "name": "other"}), 64) == 20
    assert num_read(RECORDS[:19], labels[:19], CAMVID, 64) == 19
    assert num_read(RECORDS, [*labels[1:], labels[0]], CAMVID, 64) == 20
    edited = save_label(Path(labels[0].resource.root), labels[0].resource.name, np.zeros((70, 90), np.uint8))
    assert num_read(RECORDS, [edited, *labels[1:]], CAMVID, 64) == 20
    assert num_read(RECORDS, labels, CAMVID, 64) == 0


def test_a_label_map_of_train_ids_is_not_one_of_label_ids(labels: list[Label]) -> None:
    mapped = Label(labels[0].resource, holds="train_ids")
    assert cache_key([mapped], CAMVID, 64) != cache_key(labels[:1], CAMVID, 64)


def test_the_folder_of_a_data_set_may_move_but_not_its_content(labels: list[Label], tmp_path: Path) -> None:
    first = labels[0].resource
    content = first.read()
    keys = []
    for number, data in enumerate((content, content, content[:-1] + b"?")):
        root = tmp_path / str(number)
        (root / first.name).parent.mkdir(parents=True)
        (root / first.name).write_bytes(data)
        keys.append(cache_key([Label(Resource(root=str(root), name=first.name, size=first.size))], CAMVID, 64))
    assert keys[0] == keys[1] == cache_key(labels[:1], CAMVID, 64) != keys[2]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another archive"])
def test_a_damaged_cache_is_made_again(
    labels: list[Label], cache: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    index_label_files(RECORDS, labels, CAMVID, 64, cache=cache)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    if damage == "cut":
        kept.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        middle = len(whole) // 2
        kept.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif damage == "empty":
        kept.write_bytes(b"")
    else:
        with kept.open("wb") as file:
            np.savez(file, sample=np.zeros(3))
    assert_same(index_label_files(RECORDS, labels, CAMVID, 64, cache=cache), expected())
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert f"{kept}: damaged" in caplog.text
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_no_error(
    labels: list[Label], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for _ in range(2):
        assert_same(index_label_files(RECORDS, labels, CAMVID, 64, cache=tmp_path / "file" / "cache"), expected())
    assert "can't be written (Not a directory); label maps will be read again next time" in caplog.text


def test_nothing_half_written_is_left(labels: list[Label], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert_same(index_label_files(RECORDS, labels, CAMVID, 64, cache=cache), expected())
    assert list(cache.iterdir()) == []


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: list[Label]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    index_label_files(RECORDS, labels, CAMVID, 64)
    assert len(list((tmp_path / "xdg" / "label-propagation").iterdir())) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / ".cache" / "label-propagation"


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_bad_label_map_is_named_and_nothing_kept(labels: list[Label], cache: Path, num_processes: int) -> None:
    root = Path(labels[0].resource.root)
    save_label(root, "000013.png", np.full((70, 90), 77, np.uint8))
    with pytest.raises(InputError, match=r"000013\.png: holds label ids that class table 'camvid' does not have: 77"):
        index_label_files(RECORDS, labels, CAMVID, 64, cache=cache, num_processes=num_processes)
    assert not cache.exists()


def test_no_label_map_and_too_few_are_refused(labels: list[Label], cache: Path) -> None:
    with pytest.raises(DataError, match="no sample to index"):
        index_label_files([], [], CAMVID, 64, cache=cache)
    with pytest.raises(ValueError, match="expected a label map for every sample, found 19 for 20"):
        index_label_files(RECORDS, labels[:19], CAMVID, 64, cache=cache)


def test_one_line_says_that_label_maps_are_read(
    labels: list[Label], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            index_label_files(RECORDS, labels, CAMVID, 64, cache=cache)
    assert [r.getMessage() for r in caplog.records] == ["reading 20 label maps, once, for where each class lies"]
