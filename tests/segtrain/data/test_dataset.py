"""The data sets that the trainer reads: windows, train ids, what is refused, and what travels to other processes."""

import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.classes import CAMVID, merged_classes
from helpers.drivers import PATIENCE
from helpers.stores import damage_chunk, write_store

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.datasets.base import DatasetOptions
from propagate.errors import StoreError
from propagate.shards.reader import NUM_OPEN
from segtrain.data.dataset import Pixels, SegmentationDataset, Window, join, require_apart
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.store_samples import open_store_samples
from segtrain.errors import DataError

MakeSample = Callable[..., Sample]
SIZE = (300, 530)  # more than one tile of a shard, the last ones partial


def save_store(path: Path, shards: Sequence[Sequence[Sample]]) -> Path:
    return write_store(path, shards, CAMVID)


def same(a: Pixels, b: Pixels) -> bool:
    pairs = zip((a.label, *a.frames), (b.label, *b.frames), strict=True)
    return all(x.dtype == np.uint8 and np.array_equal(x, y) for x, y in pairs)


def sliced(window: Window, pixels: Pixels) -> Pixels:
    return Pixels(pixels.image[window.slices], pixels.label[window.slices])


def truth(sample: Sample, pixels: np.ndarray) -> Pixels:
    return Pixels(pixels, CAMVID.train_id_of[sample.label])


CITY_SIZE = (100, 130)


@pytest.fixture
def city(tmp_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Three annotated frames in the Cityscapes layout below tmp_path/city: pixels and label ids, by key."""
    random = np.random.default_rng(0)
    frames: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for number in (19, 49, 79):
        key = f"ulm_000000_{number:06d}"
        image = random.integers(0, 256, (*CITY_SIZE, 3), np.uint8)
        label = random.integers(number // 30, number // 30 + 12, CITY_SIZE, np.uint8)
        for top, ending, pixels in (("leftImg8bit", "leftImg8bit", image), ("gtFine", "gtFine_labelIds", label)):
            path = tmp_path / "city" / top / "train" / "ulm" / f"{key}_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(pixels))
        frames[key] = image, label
    return frames


@pytest.fixture
def city_frames(tmp_path: Path, city: object) -> SegmentationDataset:  # noqa: ARG001
    return open_labelled_frames("cityscapes", DatasetOptions(root=tmp_path / "city"))


@pytest.mark.parametrize("raw", [False, True])
def test_a_stores_samples_are_those_written(tmp_path: Path, make_sample: MakeSample, raw: bool) -> None:
    shards = [[make_sample(n, raw=True) for n in (0, 1)], [make_sample(n, raw=True, size=(40, 60)) for n in (2, 3, 4)]]
    written = [sample for samples in shards for sample in samples]
    stored = shards if raw else [[replace(s, image=encode_png(s.image)) for s in samples] for samples in shards]
    dataset = open_store_samples(save_store(tmp_path / "store", stored))
    assert [record.key for record in dataset.records] == [sample.key for sample in written]
    assert [record.offset for record in dataset.records] == [0, 1, 2, 3, 4]
    assert [dataset.size(n) for n in range(5)] == [(70, 90)] * 2 + [(40, 60)] * 3
    for number, sample in enumerate(written):
        assert same(dataset.read(number), truth(sample, np.asarray(sample.image)))


WINDOWS = [
    Window(0, 0, 1, 1),
    Window(0, 0, *SIZE),
    Window(255, 255, 2, 2),
    Window(299, 529, 1, 1),
    Window(17, 250, 260, 270),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("min_confidence", [0.0, 0.5])
def test_reading_a_window_is_reading_the_whole_and_slicing(
    tmp_path: Path, make_sample: MakeSample, window: Window, raw: bool, min_confidence: float
) -> None:
    store = save_store(tmp_path / "store", [[make_sample(n, raw=raw, size=SIZE) for n in range(2)]])
    dataset = open_store_samples(store, min_confidence=min_confidence)
    whole = dataset.read(1)
    assert same(dataset.read(1, window), sliced(window, whole))


def test_a_window_of_labelled_frames_is_the_whole_sliced(city_frames: SegmentationDataset) -> None:
    window = Window(5, 7, 90, 120)
    whole = city_frames.read(1)
    assert whole.image.shape == (*CITY_SIZE, 3)
    assert same(city_frames.read(1, window), sliced(window, whole))


def test_a_raw_shard_reads_no_chunk_beside_the_window(tmp_path: Path, make_sample: MakeSample) -> None:
    """Chunks beside the window are damaged here: to read them is an error."""
    store = save_store(tmp_path / "store", [[make_sample(0, raw=True, size=SIZE)]])
    expected = open_store_samples(store, min_confidence=0.5).read(0, Window(0, 0, 256, 256))
    for name in ("image/pixels", "label", "confidence"):
        damage_chunk(store / "shard-00000.h5", name, column=256)
    dataset = open_store_samples(store, min_confidence=0.5)
    assert same(dataset.read(0, Window(0, 0, 256, 256)), expected)
    with pytest.raises(StoreError, match=r"shard-00000\.h5: sample 'seq_000000' .* cannot be read .*propagate verify"):
        dataset.read(0, Window(0, 0, 256, 257))


def test_pixels_below_the_confidence_are_ignored(tmp_path: Path, make_sample: MakeSample) -> None:
    levels = np.arange(16, dtype=np.uint8)[None].repeat(2, axis=0)
    sample = make_sample(0, size=(2, 16), confidence=levels, label=np.full((2, 16), 3, np.uint8))
    store = save_store(tmp_path / "store", [[sample]])
    for least, first_kept in ((0.0, 0), (0.2, 3), (0.6, 9), (0.61, 10), (1.0, 15)):
        label = open_store_samples(store, min_confidence=least).read(0).label
        assert (label == np.where(levels < first_kept, 255, 3)).all()
    with pytest.raises(ValueError, match=r"min_confidence must be within 0…1, found 1\.5"):
        open_store_samples(store, min_confidence=1.5)


def test_another_class_table_trains_other_classes(tmp_path: Path, make_sample: MakeSample) -> None:
    sample = make_sample(0)
    store = save_store(tmp_path / "store", [[sample]])
    dataset = open_store_samples(store, classes=merged_classes())
    expected = np.where(sample.label == 11, 255, sample.label == 3)
    assert np.array_equal(dataset.read(0).label, expected)
    assert dataset.index(64).class_names == dataset.classes.train_names
    assert set(dataset.index(64).centroids.train_id.tolist()) == {0, 1}


def test_the_annotated_frames_are_read_as_they_lie(
    city: dict[str, tuple[np.ndarray, np.ndarray]], city_frames: SegmentationDataset
) -> None:
    assert [record.key for record in city_frames.records] == list(city)
    for number, record in enumerate(city_frames.records):
        assert (record.source_key, record.offset, record.score, record.pairing) == (record.key, 0, 1.0, "label")
        image, label = city[record.key]
        assert same(city_frames.read(number), Pixels(image, load_classes("cityscapes").train_id_of[label]))
        assert city_frames.size(number) == CITY_SIZE


@pytest.mark.parametrize("source", ["store", "city", "joined"])
def test_the_index_is_of_the_same_samples(
    tmp_path: Path, make_sample: MakeSample, city_frames: SegmentationDataset, source: str
) -> None:
    """A class has a centroid in a tile where, and only where, the samples that are read have it there."""
    samples = [make_sample(n, label=np.full((70, 90), n, np.uint8)) for n in range(3)]
    store = open_store_samples(save_store(tmp_path / "store", [samples[:1], samples[1:]]))
    dataset = {"store": store, "city": city_frames, "joined": join([store, store])}[source]
    index = dataset.index(64)
    assert index.records == tuple(dataset.records)
    assert index.class_names == dataset.classes.train_names
    found = {
        (number, train_id, y // 64, x // 64)
        for number, train_id, x, y in zip(
            index.centroids.sample.tolist(),
            index.centroids.train_id.tolist(),
            index.centroids.x.tolist(),
            index.centroids.y.tolist(),
            strict=True,
        )
    }
    expected = {
        (number, int(train_id), top // 64, left // 64)
        for number in range(len(dataset.records))
        for top in range(0, dataset.size(number)[0], 64)
        for left in range(0, dataset.size(number)[1], 64)
        for train_id in np.unique(dataset.read(number).label[top : top + 64, left : left + 64])
        if train_id != 255
    }
    assert found == expected


def test_parts_come_one_after_the_other(tmp_path: Path, make_sample: MakeSample) -> None:
    stores = [
        open_store_samples(
            save_store(tmp_path / str(n), [[make_sample(n * 10 + k, size=(20 + n, 30)) for k in range(n)]])
        )
        for n in (1, 3, 2)
    ]
    joined = join(stores)
    assert [record.offset for record in joined.records] == [10, 30, 31, 32, 20, 21]
    assert [joined.size(number)[0] for number in range(6)] == [21, 23, 23, 23, 22, 22]
    window = Window(1, 2, 3, 4)
    for number, (store, within) in enumerate([(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]):
        assert same(joined.read(number, window), stores[store].read(within, window))


def test_parts_of_other_classes_are_not_joined(
    tmp_path: Path, make_sample: MakeSample, city_frames: SegmentationDataset
) -> None:
    store = open_store_samples(save_store(tmp_path / "store", [[make_sample(0)]]))
    with pytest.raises(
        DataError,
        match=r"classes of 'cityscapes' and of 'camvid' can't be joined: train id 0 is 'road' and 'Sky', train id 1 is "
        r"'sidewalk' and 'Building', .*, …; give both the same",
    ):
        join([city_frames, city_frames, store])
    fewer = replace(CAMVID, name="fewer", classes=(*CAMVID.classes[:10], CAMVID.classes[11]))
    sample = make_sample(1, label=np.zeros((70, 90), np.uint8))
    other = open_store_samples(save_store(tmp_path / "other", [[sample]]), classes=fewer)
    with pytest.raises(DataError, match=r"can't be joined: there are 11 and 10 of them; give"):
        join([store, other])
    with pytest.raises(ValueError, match="found none"):
        join([])


def test_validation_is_apart_from_training(tmp_path: Path, make_sample: MakeSample) -> None:
    def store(name: str, sources: list[str]) -> SegmentationDataset:
        samples = [make_sample(n, source_key=source) for n, source in enumerate(sources)]
        return open_store_samples(save_store(tmp_path / name, [samples]))

    training = store("training", ["a", "b", "c", "d", "e"])
    require_apart(training, store("apart", ["f", "g"]))
    with pytest.raises(DataError, match=r"^2 frames are both trained on and validated on: b, e; "):
        require_apart(training, store("mixed", ["e", "x", "b", "b"]))
    with pytest.raises(DataError, match=r"^5 frames .*: a, b, c, …; "):
        require_apart(training, training)
    with pytest.raises(DataError, match=r"^1 frames .*: "):  # annotated itself, and propagated to in training
        require_apart(training, store("neighbour", [training.records[3].key]))
    fused = make_sample(0, source_key="a", origin="fused", second_source_key="g", second_offset=-1)
    with pytest.raises(DataError, match=r"^1 frames are both trained on and validated on: g; "):
        require_apart(open_store_samples(save_store(tmp_path / "fused", [[fused]])), store("second", ["f", "g"]))
    with pytest.raises(DataError, match=r"^1 frames are both trained on and validated on: g; "):
        require_apart(store("third", ["f", "g"]), open_store_samples(tmp_path / "fused"))


def test_a_data_set_that_was_read_from_travels_without_open_files(
    tmp_path: Path, make_sample: MakeSample, city_frames: SegmentationDataset
) -> None:
    store = open_store_samples(save_store(tmp_path / "store", [[make_sample(0)]]))
    for dataset in (store, city_frames, join([store, store])):
        expected = dataset.read(0)
        travelled = pickle.loads(pickle.dumps(dataset))
        assert tuple(travelled.records) == tuple(dataset.records)
        assert same(travelled.read(0), expected)


def test_processes_forked_after_reading_open_their_own_files(tmp_path: Path, make_sample: MakeSample) -> None:
    dataset = open_store_samples(
        save_store(tmp_path / "store", [[make_sample(0, raw=True)], [make_sample(1, raw=True)]])
    )
    expected = [dataset.read(0), dataset.read(1)]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def child() -> None:
        shards = dataset._shards  # type: ignore[attr-defined]
        before = set(shards._open.values())
        again = [dataset.read(0), dataset.read(1)]
        answers.put((all(map(same, again, expected)), before & {shards.get(1)} == set()))

    process = context.Process(target=child)
    process.start()
    assert answers.get(timeout=PATIENCE) == (True, True)
    process.join()
    assert same(dataset.read(1), expected[1])


def test_few_shards_are_open_at_a_time(tmp_path: Path, make_sample: MakeSample) -> None:
    count = NUM_OPEN + 3
    store = save_store(tmp_path / "store", [[make_sample(n, size=(8, 8))] for n in range(count)])
    dataset = open_store_samples(store)

    def opened() -> list[str]:
        links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return [target.name for target in (link.readlink() for link in links) if target.parent == store]

    assert opened() == []
    for number in range(count):
        dataset.read(number)
        assert 1 <= len(opened()) <= NUM_OPEN
    kept = [f"shard-{n:05d}.h5" for n in range(count - NUM_OPEN, count)]
    assert sorted(opened()) == kept
    for number in (count - NUM_OPEN, 0):  # the first of those kept is read again, so that the second one goes
        dataset.read(number)
    assert sorted(opened()) == sorted({*kept, "shard-00000.h5"} - {kept[1]})


@pytest.mark.parametrize(
    "window", [Window(0, 0, 71, 90), Window(-1, 0, 5, 5), Window(0, -1, 5, 5), Window(0, 86, 5, 5), Window(3, 3, 0, 5)]
)
def test_a_window_outside_the_image_is_refused(
    tmp_path: Path, make_sample: MakeSample, city_frames: SegmentationDataset, window: Window
) -> None:
    dataset = open_store_samples(save_store(tmp_path / "store", [[make_sample(0)]]))
    with pytest.raises(ValueError, match="expected a window inside an image of 70x90, found Window"):
        dataset.read(0, window)
    with pytest.raises(ValueError, match="expected a window inside an image of 100x130"):
        city_frames.read(0, window._replace(top=97, height=5))


def test_a_store_of_another_split_or_without_samples_is_refused(tmp_path: Path, make_sample: MakeSample) -> None:
    store = save_store(tmp_path / "store", [[make_sample(0)]])
    assert len(open_store_samples(store, split="train").records) == 1
    with pytest.raises(DataError, match=rf"^{store}: a store of split 'train', expected 'val'; .*--split val"):
        open_store_samples(store, split="val")
    with pytest.raises(DataError, match="empty: a store without any sample; `propagate info`"):
        open_store_samples(save_store(tmp_path / "empty", []))
    with pytest.raises(StoreError, match="no shard store here"):
        open_store_samples(tmp_path / "nothing")


def test_label_ids_outside_the_class_table_are_refused(tmp_path: Path, make_sample: MakeSample) -> None:
    samples = [make_sample(n, label=np.full((70, 90), 3, np.uint8)) for n in range(3)]
    samples[1].label[5, 6:9] = (40, 7, 41)
    samples[2].label[:] = 99
    store = save_store(tmp_path / "store", [samples[:1], samples[1:]])
    with pytest.raises(
        DataError,
        match=r"shard-00001\.h5: sample 'seq_000001' has label ids \[40, 41\], which are not in the class table",
    ):
        open_store_samples(store)


def test_a_missing_or_damaged_shard_is_named(tmp_path: Path, make_sample: MakeSample) -> None:
    store = save_store(tmp_path / "store", [[make_sample(0)], [make_sample(1), make_sample(2)]])
    shard = store / "shard-00001.h5"
    whole, dataset = shard.read_bytes(), open_store_samples(store)
    shard.write_bytes(whole[:-500])
    with pytest.raises(StoreError, match=rf"^{shard}: cannot be opened .*propagate verify"):
        open_store_samples(store)
    shard.write_bytes((store / "shard-00000.h5").read_bytes())
    with pytest.raises(StoreError, match=rf"^{shard}: cannot be opened .* it has .* bytes, the manifest says"):
        open_store_samples(store)
    shard.unlink()
    with pytest.raises(StoreError, match=rf"^{shard}: cannot be opened .*propagate verify"):
        open_store_samples(store)
    with pytest.raises(StoreError, match=rf"^{shard}: cannot be opened .*propagate verify"):
        dataset.read(1)


def test_an_image_that_is_none_or_of_another_size_is_named(tmp_path: Path, make_sample: MakeSample) -> None:
    samples = [make_sample(0, image=b"none"), make_sample(1, image=make_sample(1, size=(8, 9)).image)]
    dataset = open_store_samples(save_store(tmp_path / "store", [samples]))
    with pytest.raises(StoreError, match=r"shard-00000\.h5: sample 'seq_000000' .*: .*propagate verify"):
        dataset.read(0)
    with pytest.raises(StoreError, match=r"sample 'seq_000001' .* has an image of 8x9, expected 70x90 as its shard"):
        dataset.read(1)
