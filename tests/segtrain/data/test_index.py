"""Where each class lies: centroids against the published ones and by hand, from stores and from label maps."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagate.data.classes import ClassTable, LabelClass, load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.shards.cells import cell_statistics
from propagate.shards.reader import SampleRecord, Shard, open_store
from segtrain.data.centroids import Centroids, TileGrid, centroids_of_cells, centroids_of_label_map
from segtrain.data.index import ClassIndex, index_store, join_indices, select_samples
from segtrain.data.store_samples import open_store_samples
from segtrain.errors import DataError

GOLDEN = Path(__file__).parents[2] / "golden"
PUBLISHED = json.loads((GOLDEN / "segmentation_misc.json").read_text())
CITYSCAPES, CAMVID = load_classes("cityscapes"), load_classes("camvid")
UNMAPPED = np.where(np.arange(256) < 19, np.arange(256), 255).astype(np.uint8)
MakeSample = Callable[..., Sample]
SaveStore = Callable[..., Path]
Rows = list[tuple[int, ...]]


@pytest.fixture(scope="module")
def maps() -> list[np.ndarray]:
    """Three published label maps: 200x310, 128x192 and 100x90."""
    with np.load(GOLDEN / "segmentation_misc.npz") as arrays:
        return [arrays[f"labelids{number}"] for number in range(3)]


def rows(found: Centroids) -> Rows:
    return list(zip(*(getattr(found, name).tolist() for name in ("sample", "train_id", "x", "y")), strict=True))


def of_maps(
    labels: list[np.ndarray], tile: int, *, partial: bool = False, train_id_of: np.ndarray = CITYSCAPES.train_id_of
) -> Rows:
    """(sample, train id, x, y) of each centroid in several label maps."""
    parts = [centroids_of_label_map(label, train_id_of, TileGrid(*label.shape, tile, partial)) for label in labels]
    return [(number, *row[1:]) for number, part in enumerate(parts) for row in rows(part)]


def published(per_class: dict[str, list]) -> dict[int, list[tuple[int, int, int]]]:
    """Per class (sample, x, y), in the published order."""
    return {int(c): [(int(image[3:]), x, y) for image, (x, y) in found] for c, found in per_class.items()}


def by_class(found: Rows) -> dict[int, list[tuple[int, ...]]]:
    return {c: [(sample, x, y) for sample, train_id, x, y in found if train_id == c] for c in range(19)}


def test_the_published_classes() -> None:
    mapped = {int(label_id): train_id for label_id, train_id in PUBLISHED["id_to_trainid"].items()}
    assert mapped.pop(-1, 255) in (-1, 255)  # the licence plate, which no label map of 8 bits holds
    assert {label_id: CITYSCAPES.train_id_of[label_id] for label_id in mapped} == mapped


@pytest.mark.parametrize("name", PUBLISHED["centroids"])
def test_published_centroids_of_full_tiles(maps: list[np.ndarray], name: str) -> None:
    tile = int(name.removeprefix("tile"))
    assert by_class(of_maps(maps, tile)) == published(PUBLISHED["centroids"][name])


def test_published_centroids_of_label_maps_that_hold_train_ids(maps: list[np.ndarray]) -> None:
    expected = published(PUBLISHED["centroids_no_id_map_tile64"])
    assert by_class(of_maps(maps[:1], 64, train_id_of=UNMAPPED)) == expected


def test_published_centroids_from_the_statistics_of_a_store(maps: list[np.ndarray]) -> None:
    found: Rows = []
    for number, label in enumerate(maps):
        cells = cell_statistics(label)
        sample = np.full(len(cells.cell), number)
        grid = TileGrid(*label.shape, tile=64, partial=False)
        found += rows(centroids_of_cells(sample, cells, CITYSCAPES.train_id_of, grid))
    assert by_class(found) == published(PUBLISHED["centroids"]["tile64"])


@pytest.mark.parametrize("name", PUBLISHED["tile_locations"])
def test_published_tiles(name: str) -> None:
    size, tile = name.split("_tile")
    height, width = map(int, size.split("x"))
    grid = TileGrid(height, width, int(tile), partial=False)
    row, column = np.divmod(np.flatnonzero(grid.counts(np.arange(grid.num_tiles))), grid.columns)
    corners = np.stack([column, row], axis=1) * grid.tile
    assert corners.tolist() == PUBLISHED["tile_locations"][name]


def test_partial_tiles_count_where_the_published_sampling_drops_them(maps: list[np.ndarray]) -> None:
    """The third map, 100x90, is smaller than a tile of 96: for the published sampling it has no class at all."""
    with_all, full_only = of_maps(maps, 96, partial=True), of_maps(maps, 96)
    assert set(full_only) < set(with_all)
    assert {sample for sample, *_ in full_only} == {0, 1}
    assert {sample for sample, *_ in with_all} == {0, 1, 2}


def by_hand(label: np.ndarray, tile: int) -> Rows:
    """Every tile and class, pixel by pixel; the last of a row is the number of pixels."""
    found: Rows = []
    for top in range(0, label.shape[0], tile):
        for left in range(0, label.shape[1], tile):
            part = UNMAPPED[label[top : top + tile, left : left + tile]]
            for train_id in sorted(set(part.ravel().tolist()) - {255}):
                y, x = np.nonzero(part == train_id)
                found.append((train_id, left + int(x.sum()) // len(x), top + int(y.sum()) // len(y), len(x)))
    return found


@given(height=st.integers(1, 150), width=st.integers(1, 150), tile=st.integers(1, 200), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_centroids_equal_a_count_by_hand(height: int, width: int, tile: int, seed: int) -> None:
    tile = max(tile, max(height, width) // 12)  # by hand is slow
    random = np.random.default_rng(seed)
    label = random.integers(0, 24, (-(-height // 5), -(-width // 5)), np.uint8).repeat(5, 0).repeat(5, 1)
    label = label[:height, :width]
    found = centroids_of_label_map(label, UNMAPPED, TileGrid(height, width, tile))
    columns = (found.train_id, found.x, found.y, found.num_pixels)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == by_hand(label, tile)
    assert not found.sample.any()


@given(height=st.integers(1, 200), width=st.integers(1, 200), cells=st.integers(1, 3), partial=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_statistics_of_a_store_say_the_same_as_its_label_maps(
    height: int, width: int, cells: int, partial: bool
) -> None:
    label = np.random.default_rng(height).integers(0, 24, (height, width), np.uint8)
    grid = TileGrid(height, width, 64 * cells, partial)
    statistics = cell_statistics(label)
    direct = centroids_of_label_map(label, UNMAPPED, grid)
    through = centroids_of_cells(np.zeros(len(statistics.cell), int), statistics, UNMAPPED, grid)
    for name, column in vars(direct).items():
        np.testing.assert_array_equal(getattr(through, name), column)
        assert getattr(through, name).dtype == column.dtype


def test_a_tile_without_a_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="a tile must have 1 pixel or more, found 0"):
        TileGrid(10, 10, 0)


def two_shards(make_sample: MakeSample) -> list[list[Sample]]:
    """Two samples of 150x200, then three of 64x70."""
    sizes = [(150, 200)] * 2 + [(64, 70)] * 3
    samples = [make_sample(number, size=size, raw=True) for number, size in enumerate(sizes)]
    return [samples[:2], samples[2:]]


def test_the_index_of_a_store_is_that_of_its_label_maps(make_sample: MakeSample, save_store: SaveStore) -> None:
    shards = two_shards(make_sample)
    samples = [sample for shard in shards for sample in shard]
    index = index_store(open_store(save_store(shards, CAMVID)), 128)
    labels = [sample.label for sample in samples]
    assert rows(index.centroids) == of_maps(labels, 128, partial=True, train_id_of=CAMVID.train_id_of)
    assert [record.key for record in index.records] == [sample.key for sample in samples]
    assert index.class_names == CAMVID.train_names
    assert index.num_classes == 11


def test_records_that_were_read_already_are_not_read_again(
    make_sample: MakeSample, save_store: SaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_store(two_shards(make_sample), CAMVID)
    expected = index_store(open_store(path), 64)
    dataset = open_store_samples(path)
    monkeypatch.delattr(Shard, "records")
    index = dataset.index(64)
    assert rows(index.centroids) == rows(expected.centroids)
    assert index.records == expected.records


def roads() -> ClassTable:
    """CamVid's label ids; trained are everything but the road, and the road."""
    ids = {c.id: 255 if c.id == CAMVID.ignore_id else int(c.name == "Road") for c in CAMVID.classes}
    classes = tuple(LabelClass(id=c.id, name=c.name, color=c.color, train_id=ids[c.id]) for c in CAMVID.classes)
    return ClassTable(name="roads", ignore_id=CAMVID.ignore_id, classes=classes)


def test_another_choice_of_classes_needs_no_other_store(make_sample: MakeSample, save_store: SaveStore) -> None:
    shards = two_shards(make_sample)
    index = index_store(open_store(save_store(shards, CAMVID)), 64, classes=roads())
    labels = [sample.label for shard in shards for sample in shard]
    assert rows(index.centroids) == of_maps(labels, 64, partial=True, train_id_of=roads().train_id_of)
    assert index.num_classes == 2


def test_label_ids_outside_the_table_are_refused(make_sample: MakeSample, save_store: SaveStore) -> None:
    label = np.full((70, 90), 77, np.uint8)
    store = open_store(save_store([[make_sample(0), make_sample(1, label=label)]], CAMVID))
    with pytest.raises(DataError, match=r"shard-00000\.h5: label ids \[77\] are not in the class table 'camvid'"):
        index_store(store, 64)


def test_a_store_without_samples_is_refused(save_store: SaveStore) -> None:
    with pytest.raises(DataError, match="no sample to index, with the classes of 'camvid'"):
        index_store(open_store(save_store([], CAMVID)), 64)


def test_damaged_statistics_are_refused(make_sample: MakeSample, save_store: SaveStore) -> None:
    path = save_store([[make_sample(0)]], CAMVID)
    with h5py.File(path / "shard-00000.h5") as file:
        chunk = file["cells/sum_x"].id.get_chunk_info(0)
    with (path / "shard-00000.h5").open("r+b") as shard:
        shard.seek(chunk.byte_offset + chunk.size // 2)
        shard.write(b"\xff\x00\xff\x00")
    with pytest.raises(StoreError, match=r"shard-00000\.h5: cannot be read .*`propagate verify` says more"):
        index_store(open_store(path), 64)


def record(key: str) -> SampleRecord:
    return SampleRecord(key=key, source_key=key, group="city", offset=0, pairing="label", score=1.0, origin="annotated")


def index_of(labels: dict[str, np.ndarray], classes: ClassTable = CITYSCAPES) -> ClassIndex:
    parts = [
        centroids_of_label_map(label, classes.train_id_of, TileGrid(*label.shape, 64)) for label in labels.values()
    ]
    return ClassIndex.of([record(key) for key in labels], classes, parts)


def test_joined_indices_are_those_of_all_samples(maps: list[np.ndarray]) -> None:
    named = dict(zip("abc", maps, strict=True))
    together = index_of(named)
    joined = join_indices([index_of({"a": named["a"]}), index_of({"b": named["b"], "c": named["c"]})])
    assert joined.records == together.records
    assert joined.class_names == together.class_names
    assert rows(joined.centroids) == rows(together.centroids)


def test_sources_of_other_classes_cannot_be_joined(maps: list[np.ndarray]) -> None:
    others = index_of({"b": np.zeros((64, 64), np.uint8)}, CAMVID)
    with pytest.raises(ValueError, match=r"sources of other classes can't be joined: \['road', .* and \['Sky', "):
        join_indices([index_of({"a": maps[0]}), others])


@pytest.mark.parametrize(
    ("size", "tile", "num_pixels"),
    [
        ((64, 192), 96, [64 * 64, 2 * 64 * 64]),  # the second cell's centre lies at 96
        ((192, 64), 96, [64 * 64, 2 * 64 * 64]),
        ((68, 64), 48, [64 * 64, 4 * 64]),  # the second cell ends in the second tile, and there is no third
        ((64, 68), 48, [64 * 64, 64 * 4]),
    ],
)
def test_a_cell_that_lies_in_several_tiles_goes_to_that_of_its_centre_or_the_last_one(
    size: tuple[int, int], tile: int, num_pixels: list[int]
) -> None:
    cells, grid = cell_statistics(np.zeros(size, np.uint8)), TileGrid(*size, tile)
    found = centroids_of_cells(np.zeros(len(cells.cell), np.int64), cells, UNMAPPED, grid)
    assert found.sample.tolist() == [0, 0]
    assert found.num_pixels.tolist() == num_pixels


def test_chosen_samples_are_numbered_anew() -> None:
    records = tuple(
        SampleRecord(key=key, source_key=key, group="seq", offset=0, pairing="label", score=1.0, origin="annotated")
        for key in "abcd"
    )
    place = np.arange(5, dtype=np.int32)
    sample = np.array([0, 1, 1, 2, 3])
    centroids = Centroids(sample=sample, train_id=place.astype(np.uint8), x=place, y=place, num_pixels=place + 1)
    chosen = select_samples(ClassIndex(records, ("road",), centroids), [1, 3])
    assert [record.key for record in chosen.records] == ["b", "d"]
    assert rows(chosen.centroids) == [(0, 1, 1, 1), (0, 2, 2, 2), (1, 4, 4, 4)]
    assert chosen.centroids.num_pixels.tolist() == [2, 3, 5]
