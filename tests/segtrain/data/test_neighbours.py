"""Samples with neighbours: the right frames, from files, zips and stores, and what becomes of samples that lack one."""

import logging
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.stores import damage_chunk, write_store

from propagate.data.classes import load_classes
from propagate.data.images import decode_frame, encode_png
from propagate.data.sample import Sample
from propagate.datasets.base import DatasetOptions
from propagate.errors import InputError, StoreError
from segtrain.data.batches import load_batches
from segtrain.data.dataset import SegmentationDataset, Window, join
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.sampling import Sampling, build_epoch
from segtrain.data.store_samples import open_store_samples
from segtrain.data.transforms import Augmentation
from segtrain.errors import DataError

MakeSample = Callable[..., Sample]
SIZE = (70, 90)
WINDOW = Window(3, 5, 60, 70)
CAMVID = load_classes("camvid")
SNIPPETS = {"ulm_000000": (17, 18, 19, 20, 21), "ulm_000001": (18, 19), "ulm_000002": (19, 20)}
ROAD, SIDEWALK, BUILDING = 7, 8, 11


def frame(key: str, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Other pixels for every key, the same for the same one."""
    return np.random.default_rng(list(key.encode())).integers(0, 256, (*size, 3), np.uint8)


def city_files() -> dict[str, bytes]:
    """Snippets in the Cityscapes layout, with the 19th frame annotated; the first of them is whole on either side."""
    files = {}
    for (snippet, numbers), label_id in zip(SNIPPETS.items(), (ROAD, SIDEWALK, BUILDING), strict=True):
        for number in numbers:
            key = f"{snippet}_{number:06d}"
            files[f"leftImg8bit_sequence/train/ulm/{key}_leftImg8bit.png"] = encode_png(frame(key))
        label = np.full(SIZE, label_id, np.uint8)
        files[f"gtFine/train/ulm/{snippet}_000019_gtFine_labelIds.png"] = encode_png(label)
    return files


@pytest.fixture
def city(tmp_path: Path) -> Path:
    for name, content in city_files().items():
        (tmp_path / "city" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "city" / name).write_bytes(content)
    return tmp_path / "city"


@pytest.fixture
def zipped_city(tmp_path: Path) -> Path:
    (tmp_path / "zips").mkdir()
    for name, content in city_files().items():
        archive = "gtFine_trainvaltest.zip" if name.startswith("gtFine") else "leftImg8bit_sequence_trainvaltest.zip"
        with zipfile.ZipFile(tmp_path / "zips" / archive, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, content)
    return tmp_path / "zips"


def open_city(root: Path, *offsets: int) -> SegmentationDataset:
    return open_labelled_frames("cityscapes", DatasetOptions(root=root), offsets=offsets)


@pytest.fixture
def stored(make_sample: MakeSample) -> Callable[..., list[list[Sample]]]:
    """Two sources in three shards: a from -1 to +1, in two pairings and in no order, b without -1."""

    def make(*, raw: bool = False) -> list[list[Sample]]:
        def sample(number: int, source: str, offset: int, pairing: str = "label") -> Sample:
            key = f"{source}_{offset:+d}_{pairing}"
            image = frame(key) if raw else encode_png(frame(key))
            label = np.full(SIZE, number, np.uint8)
            return make_sample(
                number, key=key, source_key=source, offset=offset, pairing=pairing, image=image, label=label
            )

        return [
            [sample(0, "b", 0), sample(1, "a", 1)],
            [sample(2, "a", 0), sample(3, "a", 0, "joint"), sample(4, "a", -1, "joint"), sample(5, "b", 1)],
            [sample(6, "a", 1, "joint"), sample(7, "a", -1)],
        ]

    return make


@pytest.fixture
def open_stored(tmp_path: Path, stored: Callable[..., list[list[Sample]]]) -> Callable[..., SegmentationDataset]:
    def make(*offsets: int, raw: bool = False) -> SegmentationDataset:
        store = tmp_path / f"store-{raw}"
        if not store.exists():
            write_store(store, stored(raw=raw), CAMVID)
        return open_store_samples(store, offsets=offsets)

    return make


@pytest.mark.parametrize("layout", ["city", "zipped_city"])
def test_frames_come_with_their_neighbours_from_folders_and_zips(layout: str, request: pytest.FixtureRequest) -> None:
    dataset = open_city(request.getfixturevalue(layout), 1, -2, -1)
    assert dataset.offsets == (1, -2, -1)
    assert [record.key for record in dataset.records] == ["ulm_000000_000019"]
    pixels = dataset.read(0, WINDOW)
    for number, shown in zip((19, 20, 17, 18), pixels.frames, strict=True):
        np.testing.assert_array_equal(shown, frame(f"ulm_000000_{number:06d}")[WINDOW.slices])
    np.testing.assert_array_equal(pixels.label, np.zeros((60, 70)))


def test_without_offsets_no_sample_has_a_neighbour(city: Path, open_stored: Callable[..., SegmentationDataset]) -> None:
    for dataset, num_samples in ((open_city(city), 3), (open_stored(), 8)):
        assert (dataset.offsets, len(dataset.records)) == ((), num_samples)
        assert dataset.read(1).neighbours == ()


def test_samples_between_two_annotated_frames_are_neighbours_of_those_of_either(
    tmp_path: Path, make_sample: MakeSample
) -> None:
    def sample(number: int, source: str, offset: int, second: str = "", second_offset: int = 0) -> Sample:
        about = {"origin": "fused", "second_source_key": second, "second_offset": second_offset} if second else {}
        return make_sample(number, source_key=source, offset=offset, **about)

    clips = [
        [sample(0, "a", 0), sample(1, "a", 1), sample(2, "a", 2, "b", -3), sample(3, "b", -2, "a", 3)],
        [sample(5, "b", 0), sample(4, "b", -1)],
    ]
    dataset = open_store_samples(write_store(tmp_path / "store", clips, CAMVID), offsets=(-1, 1))
    assert [record.key for record in dataset.records] == [f"seq_{number:06d}" for number in (1, 2, 3, 4)]
    for place, number in enumerate((1, 2, 3, 4)):
        for beside, shown in zip((-1, 1), dataset.read(place).neighbours, strict=True):
            expected = make_sample(number + beside)
            np.testing.assert_array_equal(shown, decode_frame(expected.image, expected.key))


@pytest.mark.parametrize("raw", [False, True])
def test_samples_come_with_their_neighbours_from_any_shard(
    open_stored: Callable[..., SegmentationDataset], raw: bool
) -> None:
    dataset = open_stored(1, -1, raw=raw)
    assert dataset.offsets == (1, -1)
    assert [record.key for record in dataset.records] == ["a_+0_label", "a_+0_joint"]
    for number, pairing in enumerate(("label", "joint")):
        pixels = dataset.read(number, WINDOW)
        for offset, shown in zip((0, 1, -1), pixels.frames, strict=True):
            np.testing.assert_array_equal(shown, frame(f"a_{offset:+d}_{pairing}")[WINDOW.slices])
        np.testing.assert_array_equal(pixels.label, np.full((60, 70), 2 + number))


def test_propagated_samples_have_neighbours_too(open_stored: Callable[..., SegmentationDataset]) -> None:
    dataset = open_stored(-1)
    keys = ["a_+1_label", "a_+0_label", "a_+0_joint", "b_+1_label", "a_+1_joint"]
    assert [record.key for record in dataset.records] == keys
    for number, neighbour in enumerate(["a_+0_label", "a_-1_label", "a_-1_joint", "b_+0_label", "a_+0_joint"]):
        pixels = dataset.read(number)
        np.testing.assert_array_equal(pixels.image, frame(keys[number]))
        np.testing.assert_array_equal(pixels.neighbours[0], frame(neighbour))


def test_the_index_counts_the_samples_that_are_left(
    city: Path, open_stored: Callable[..., SegmentationDataset]
) -> None:
    """Every label map is of one class, its own."""
    store, frames = open_stored(-1), open_city(city, 1)
    assert (len(store.records), len(frames.records)) == (5, 2)
    for dataset in (store, frames, join([store, store])):
        index = dataset.index(64)
        assert index.records == tuple(dataset.records)
        labels = [int(dataset.read(number).label[0, 0]) for number in range(len(dataset.records))]
        found = set(zip(index.centroids.sample.tolist(), index.centroids.train_id.tolist(), strict=True))
        assert found == set(enumerate(labels))
        assert len(index.centroids) == 4 * len(labels)  # tiles


def test_how_many_samples_are_left_out_is_said_once(
    city: Path, open_stored: Callable[..., SegmentationDataset], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    store = open_stored(-1)
    store.read(0)
    store.index(64)
    [told] = caplog.messages
    assert told.endswith(
        "store-False: 3 of 8 samples are left out, since they lack a neighbour: the first, 'b_+0_label', has no frame "
        "at -1 from its own"
    )
    caplog.clear()
    open_city(city, 1, -1)
    assert caplog.messages == [
        f"{city}: 2 of 3 samples are left out, since they lack a neighbour: the first, 'ulm_000001_000019', has no "
        "frame at +1 from its own"
    ]
    caplog.clear()
    open_city(city)
    open_stored()
    assert caplog.messages == []


def test_where_no_sample_is_left_it_says_what_there_is(
    city: Path, open_stored: Callable[..., SegmentationDataset]
) -> None:
    with pytest.raises(
        DataError,
        match=r"city: no sample of 3 has all its neighbours, at -1, \+3 from its own frame: the first, "
        r"'ulm_000000_000019', has no frame at \+3 from its own; within that range there are frames at offsets "
        r"\[-2, -1, 0, 1, 2\]; add the frames around the annotated ones, or ask for other offsets",
    ):
        open_city(city, -1, 3)
    with pytest.raises(
        DataError,
        match=r"no sample of 8 has .* at \+3 from .*: the first, 'b_\+0_label', has .*; samples have offsets "
        r"\[-1, 0, 1\]; store more with `propagate run --frames 3`, or ask for other offsets",
    ):
        open_stored(3)


@pytest.mark.parametrize("offsets", [(0,), (1, 0), (2, -1, 2)])
def test_offsets_of_0_and_repeated_ones_are_refused(
    city: Path, open_stored: Callable[..., SegmentationDataset], offsets: tuple[int, ...]
) -> None:
    for use in (lambda: open_city(city, *offsets), lambda: open_stored(*offsets)):
        with pytest.raises(ValueError, match=r"differ from one another and from 0, the sample itself, found \("):
            use()


def test_joined_parts_have_neighbours_at_the_same_offsets(open_stored: Callable[..., SegmentationDataset]) -> None:
    before, both = open_stored(-1), open_stored(-1, 1)
    joined = join([before, before])
    assert joined.offsets == (-1,)
    np.testing.assert_array_equal(joined.read(6).neighbours[0], frame("a_-1_label"))
    for other, named in ((both, r"\[-1, 1\]"), (open_stored(), r"\[\]")):
        with pytest.raises(DataError, match=rf"at offsets \[-1\] and {named} can't be joined; open both with the same"):
            join([before, other])


@pytest.mark.parametrize("source", ["city", "store"])
def test_loader_processes_change_nothing(
    city: Path, open_stored: Callable[..., SegmentationDataset], source: str
) -> None:
    dataset = open_city(city, 1) if source == "city" else open_stored(1, raw=True)
    dataset.read(0)
    epoch = build_epoch(dataset.index(64), Sampling(length=10), seed=1, epoch=0)
    augmentation = Augmentation(crop=(32, 48), rotation=5)
    alone, beside = (
        list(load_batches(dataset, epoch, augmentation, [range(6), range(6, 10)], num_workers=number, pinned=False))
        for number in (0, 2)
    )
    assert [batch.neighbours.shape for batch in alone if batch.neighbours is not None] == [
        (6, 1, 3, 32, 48),
        (4, 1, 3, 32, 48),
    ]
    for one, other in zip(alone, beside, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.label, other.label)
        assert one.neighbours is not None
        assert one.neighbours.dtype == torch.uint8
        assert one.neighbours.is_contiguous()
        assert torch.equal(one.neighbours, other.neighbours)


def test_batches_hold_neighbours_in_the_order_of_the_offsets(city: Path) -> None:
    augmentation = Augmentation(crop=SIZE, scale=(1, 1), flip=False, colour=0, blur=False)

    def first_batch(*offsets: int) -> torch.Tensor | None:
        dataset = open_city(city, *offsets)
        epoch = build_epoch(dataset.index(64), Sampling(length=1), seed=1, epoch=0)
        [batch] = load_batches(dataset, epoch, augmentation, [[0]], num_workers=0, pinned=False)
        return batch.neighbours

    neighbours = first_batch(1, -2)
    assert neighbours is not None
    for shown, number in zip(neighbours[0], (20, 17), strict=True):
        np.testing.assert_array_equal(shown.permute(1, 2, 0), frame(f"ulm_000000_{number:06d}"))
    assert first_batch() is None


def test_a_neighbour_that_cannot_be_read_is_named(
    city: Path, tmp_path: Path, stored: Callable[..., list[list[Sample]]]
) -> None:
    neighbour = city / "leftImg8bit_sequence/train/ulm/ulm_000000_000020_leftImg8bit.png"
    dataset = open_city(city, 1)
    neighbour.write_bytes(neighbour.read_bytes()[:-500])
    with pytest.raises(InputError, match=f"^{neighbour}: "):
        dataset.read(0)
    neighbour.write_bytes(encode_png(frame("other", (70, 91))))
    with pytest.raises(DataError, match=f"^{neighbour}: a frame of 70x91, but its neighbour .*000019.* is of 70x90; "):
        dataset.read(0)
    shards = stored()
    shards[0][1] = replace(shards[0][1], image=b"none")
    damaged = open_store_samples(write_store(tmp_path / "damaged", shards, CAMVID), offsets=(1,))
    with pytest.raises(StoreError, match=r"shard-00000\.h5: sample 'a_\+1_label' \(from 'a', label\): .*verify"):
        damaged.read([record.key for record in damaged.records].index("a_+0_label"))


def test_a_neighbour_of_another_size_in_a_store_is_named(tmp_path: Path, make_sample: MakeSample) -> None:
    shards = [[make_sample(0, raw=True)], [make_sample(1, raw=True, size=(70, 91))]]
    dataset = open_store_samples(write_store(tmp_path / "store", shards, CAMVID), offsets=(1,))
    with pytest.raises(
        DataError, match=r"sample 'seq_000001' .* is of 70x91, but its neighbour, sample 'seq_000000' .*, of 70x90; "
    ):
        dataset.read(0)


def test_of_a_neighbour_in_a_store_the_frame_alone_is_read(
    tmp_path: Path, stored: Callable[..., list[list[Sample]]]
) -> None:
    """The label map and the confidence of the neighbour are damaged here: to read them is an error."""
    shards = stored(raw=True)
    dataset = open_store_samples(
        write_store(tmp_path / "store", [shards[1][:1], shards[0][1:]], CAMVID), min_confidence=0.5, offsets=(1,)
    )
    for name in ("label", "confidence"):
        damage_chunk(tmp_path / "store" / "shard-00001.h5", name, column=0)
    np.testing.assert_array_equal(dataset.read(0).neighbours[0], frame("a_+1_label"))
    with pytest.raises(StoreError, match="cannot be read"):
        open_store_samples(tmp_path / "store").read(1)
