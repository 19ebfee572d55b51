"""Epochs: how many crops of what, against the published counts and order, and by their invariants."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagate.shards.reader import SampleRecord
from segtrain.data.centroids import Centroids
from segtrain.data.index import ClassIndex
from segtrain.data.sampling import ANYWHERE, COARSELY, Epoch, Sampling, build_epoch, draw
from segtrain.errors import DataError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "segmentation_misc.json").read_text())["build_epoch"]


def record(number: int, offset: int = 0, score: float = 1.0) -> SampleRecord:
    key = f"frame_{number:06d}"
    origin = "propagated" if offset else "annotated"
    return SampleRecord(
        key=key, source_key=key, group="city", offset=offset, pairing="label", score=score, origin=origin
    )


def centroids_at(sample: list[int], train_id: list[int]) -> Centroids:
    """Of these samples and classes, at places that are all different."""
    place = np.arange(len(sample), dtype=np.int32)
    return Centroids(
        sample=np.array(sample, np.int64),
        train_id=np.array(train_id, np.uint8),
        x=place,
        y=place + 1000,
        num_pixels=np.ones(len(sample), np.int64),
    )


def index_of(rows: list[tuple[int, int]], num_classes: int, records: list[SampleRecord] | int = 10) -> ClassIndex:
    """An index with a centroid for each (sample, train id)."""
    if isinstance(records, int):
        records = [record(number) for number in range(records)]
    names = tuple(f"class {train_id}" for train_id in range(num_classes))
    return ClassIndex(tuple(records), names, centroids_at([s for s, _ in rows], [c for _, c in rows]))


def everywhere(num_samples: int, num_classes: int) -> ClassIndex:
    """An index whose samples hold every class."""
    return index_of([(s, c) for s in range(num_samples) for c in range(num_classes)], num_classes, num_samples)


def assert_even(times: list[int]) -> None:
    assert max(times) - min(times) <= 1


def per_class(epoch: Epoch, num_classes: int) -> list[int]:
    return np.bincount(epoch.train_id[epoch.train_id != ANYWHERE], minlength=num_classes).tolist()


def same(a: Epoch, b: Epoch) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("sample", "train_id", "x", "y"))


def published_centroids(case: dict) -> tuple[Centroids, list[str]]:
    """3 + c centroids of each class c that isn't missing, as the published counts were made with, and their names."""
    places = [(c, k) for c in range(case["classes"]) if c not in case["missing"] for k in range(3 + c)]
    return centroids_at([0] * len(places), [c for c, _ in places]), [f"ci{c}_{k}" for c, k in places]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['num_imgs']}-{case['pct']}-{case['missing']}")
def test_published_counts_and_order(case: dict) -> None:
    centroids, names = published_centroids(case)
    pool, boost = np.arange(case["num_imgs"]), np.ones(case["classes"])
    sample, row = draw(centroids, pool, case["num_imgs"], case["pct"], boost, np.random.RandomState(123))
    around = row[row != ANYWHERE]
    assert np.bincount(centroids.train_id[around], minlength=case["classes"]).tolist() == case["per_class"]
    assert len(around) == case["uniform_items"]
    assert len(row) - len(around) == case["num_rand"] + case["num_imgs"] - case["length"]
    if "seed123_order" in case:
        ours = [f"i{s}" if r == ANYWHERE else names[r] for s, r in zip(sample, row, strict=True)]
        assert ours == case["seed123_order"]


def test_the_share_of_absent_classes_goes_to_the_rest_where_the_published_epoch_is_shorter() -> None:
    case = next(case for case in GOLDEN if case["missing"])
    centroids, _ = published_centroids(case)
    names = tuple(map(str, range(case["classes"])))
    index = ClassIndex(tuple(map(record, range(case["num_imgs"]))), names, centroids)
    epoch = build_epoch(index, Sampling(class_uniform=case["pct"]), seed=0, epoch=0)
    assert case["length"] == 2819
    assert len(epoch) == case["num_imgs"] == 2975
    assert per_class(epoch, case["classes"]) == case["per_class"]
    assert epoch.absent == tuple(case["missing"])


@st.composite
def indices(draw_: st.DrawFn) -> ClassIndex:
    """Samples, annotated and propagated, with any classes in any of them; some in none."""
    num_classes = draw_(st.integers(1, 5))
    records = draw_(
        st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.25, 0.5, 0.75, 1.0])), min_size=1, max_size=20)
    )
    rows = draw_(st.lists(st.tuples(st.integers(0, len(records) - 1), st.integers(0, num_classes - 1)), max_size=60))
    return index_of(sorted(rows), num_classes, [record(n, *kind) for n, kind in enumerate(records)])


@given(
    index=indices(),
    share=st.floats(0, 1),
    length=st.integers(1, 90),
    max_offset=st.integers(0, 3),
    min_score=st.sampled_from([0.0, 0.5, 0.8]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_what_holds_for_every_epoch(
    index: ClassIndex, share: float, length: int, max_offset: int, min_score: float, seed: int
) -> None:
    sampling = Sampling(class_uniform=share, length=length, max_offset=max_offset, min_score=min_score)
    usable = {
        n
        for n, r in enumerate(index.records)
        if r.offset == 0 or (abs(r.offset) <= max_offset and r.score >= min_score)
    }
    if not usable:
        with pytest.raises(DataError, match="no sample to train on"):
            build_epoch(index, sampling, seed=seed, epoch=1)
        return
    epoch = build_epoch(index, sampling, seed=seed, epoch=1)
    assert same(epoch, build_epoch(index, sampling, seed=seed, epoch=1))
    assert len(epoch) == length
    assert set(epoch.sample.tolist()) <= usable
    found = index.centroids
    columns = (found.sample, found.train_id, found.x, found.y)
    places = [place for place in zip(*(column.tolist() for column in columns), strict=True) if place[0] in usable]
    items = list(zip(*(column.tolist() for column in (epoch.sample, epoch.train_id, epoch.x, epoch.y)), strict=True))
    assert all(item in places if item[1] != ANYWHERE else item[2:] == (ANYWHERE, ANYWHERE) for item in items)
    present = {c for _, c, _, _ in places}
    assert epoch.absent == tuple(c for c in range(index.num_classes) if c not in present)
    quota = int(length * share / index.num_classes)
    assert per_class(epoch, index.num_classes) == [quota * (c in present) for c in range(index.num_classes)]
    for c in present:  # in turns: none occurs twice before all others have occurred
        assert_even([items.count(place) for place in places if place[1] == c])
    anywhere = [s for s, c, _, _ in items if c == ANYWHERE]
    assert_even([anywhere.count(s) for s in usable])


def test_exactly_the_samples_at_chosen_offsets_are_used_and_a_fused_one_has_two() -> None:
    fused = replace(record(6, 2), origin="fused", second_source_key="frame_000009", second_offset=-3)
    records = [*(record(n, offset) for n, offset in enumerate((-3, -1, 0, 0, 1, 3))), fused]
    index = index_of([(0, 0)], 1, records)

    def used(**settings: object) -> list[int]:
        epoch = build_epoch(index, Sampling(class_uniform=0.0, **settings), seed=0, epoch=0)  # type: ignore[arg-type]
        return sorted(epoch.sample.tolist())

    assert used(offsets=(3, 0, -3)) == [0, 2, 3, 5, 6]
    assert used(offsets=(-3, 3)) == [0, 5, 6]
    assert used(offsets=(0, 1)) == [2, 3, 4]
    assert used(offsets=(2,)) == [6]
    assert used(max_offset=2) == [1, 2, 3, 4, 6]
    with pytest.raises(DataError, match=r"no propagated sample at offset 4, 5; there are some at -3, -1, 1, 2, 3: cho"):
        used(offsets=(5, 3, 4))
    annotated = index_of([(0, 0)], 1, 2)
    assert len(build_epoch(annotated, Sampling(offsets=(-3, 0, 3)), seed=0, epoch=0)) == 2
    with pytest.raises(
        DataError, match="no sample to train on among 2, at offsets -3, 3, of propagated ones from mean con"
    ):
        build_epoch(annotated, Sampling(offsets=(-3, 3)), seed=0, epoch=0)
    with pytest.raises(DataError, match="no propagated sample to train on among 2, at offsets -3, 0, 3, of"):
        build_epoch(annotated, Sampling(offsets=(-3, 0, 3), propagated=0.5), seed=0, epoch=0)


def test_where_propagated_samples_end_and_there_are_no_others_that_is_said() -> None:
    index, sampling = index_of([(0, 0)], 1, [record(0, 1)]), Sampling(class_uniform=0.0, propagated_until=0)
    assert len(build_epoch(index, sampling, seed=0, epoch=0)) == 1
    told = r"no sample to train on among 1, at all offsets, of propagated ones none after epoch 0 \(--propagated-until"
    with pytest.raises(DataError, match=told):
        build_epoch(index, sampling, seed=0, epoch=1)


def test_a_published_augmented_epoch_has_8925_samples_where_the_range_makes_20825() -> None:
    """2,975 annotated frames, ±3."""
    records = [record(number * 7 + offset + 3, offset) for number in range(2975) for offset in range(-3, 4)]
    index = index_of([(0, 0)], 1, records)
    for sampling, length in ((Sampling(), 20825), (Sampling(offsets=(-3, 0, 3)), 8925)):
        epoch = build_epoch(index, sampling, seed=0, epoch=0)
        assert len(epoch) == epoch.num_usable == length
    assert build_epoch(index, Sampling(offsets=(-3, 0, 3), length=10), seed=0, epoch=0).num_usable == 8925


def test_crops_of_chosen_classes_come_from_coarse_annotations_too_and_nothing_else_does() -> None:
    """Two annotated samples and three coarse ones, both classes in each of them."""
    coarse = [replace(record(n), origin=COARSELY) for n in (2, 3, 4)]
    index = index_of([(s, c) for s in range(5) for c in (0, 1)], 2, [record(0), record(1), *coarse])
    sampling = Sampling(class_uniform=1.0, length=20, coarse_classes=(1,))
    epoch = build_epoch(index, sampling, seed=0, epoch=0)
    of_class = [sorted(epoch.sample[epoch.train_id == train_id].tolist()) for train_id in (0, 1)]
    assert of_class == [[0] * 5 + [1] * 5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]]
    shares = replace(sampling, propagated=0.5)
    with_propagated = index_of([*((s, c) for s in range(6) for c in (0, 1))], 2, [*index.records, record(5, 1)])
    mixed = build_epoch(with_propagated, shares, seed=0, epoch=0)
    assert sorted(mixed.sample[mixed.train_id == 1].tolist()) == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5]
    for later in (replace(sampling, class_uniform_until=0), replace(sampling, class_uniform=0.0)):
        assert set(build_epoch(index, later, seed=0, epoch=1).sample.tolist()) == {0, 1}
    assert len(build_epoch(index, Sampling(), seed=0, epoch=0)) == 2
    rare = index_of([(0, 0), (1, 0), (2, 0), (2, 1)], 2, [record(0), record(1), *coarse])
    assert build_epoch(rare, Sampling(), seed=0, epoch=0).absent == (1,)
    assert build_epoch(rare, Sampling(coarse_classes=(1,)), seed=0, epoch=0).absent == ()


@pytest.mark.parametrize("share", [None, 0.5])
def test_propagated_samples_are_left_out_after_their_last_epoch(share: float | None) -> None:
    records = [record(0), record(1), *(record(n, 1) for n in range(2, 8)), replace(record(8), origin="pseudo")]
    sampling = Sampling(class_uniform=0.0, propagated=share, propagated_until=3)
    index = index_of([(s, 0) for s in range(9)], 1, records)
    assert len(build_epoch(index, sampling, seed=0, epoch=3)) == 9
    assert sorted(build_epoch(index, sampling, seed=0, epoch=4).sample.tolist()) == [0, 1, 8]
    alone = index_of([(0, 0)], 1, [record(0, 1)])
    with pytest.raises(DataError, match=r"no .*sample to train on among 1"):
        build_epoch(alone, sampling, seed=0, epoch=4)


def test_an_epoch_follows_from_seed_and_number_alone() -> None:
    index, sampling = everywhere(40, 3), Sampling()
    epoch = build_epoch(index, sampling, seed=1, epoch=2)
    np.random.seed(0)  # what others draw has no say
    assert same(epoch, build_epoch(index, sampling, seed=1, epoch=2))
    assert not same(epoch, build_epoch(index, sampling, seed=1, epoch=3))
    assert not same(epoch, build_epoch(index, sampling, seed=2, epoch=2))


def test_every_item_has_randomness_of_its_own() -> None:
    index = everywhere(40, 3)
    epochs = [build_epoch(index, Sampling(), seed=1, epoch=number) for number in (0, 1)]
    drawn = [epoch.generator(position).random() for epoch in epochs for position in range(40)]
    drawn += [np.random.default_rng([1, number]).random() for number in (0, 1)]  # what the epochs were drawn with
    assert len(set(drawn)) == len(drawn)
    assert epochs[0].generator(7).random() == drawn[7]


def test_boosted_classes_get_more_and_the_whole_stays() -> None:
    sampling = Sampling(class_uniform=0.6, boost={1: 3.0}, length=1000)
    epoch = build_epoch(everywhere(10, 4), sampling, seed=0, epoch=0)
    assert per_class(epoch, 4) == [100, 300, 100, 100]
    with pytest.raises(ValueError, match=r"boost names train ids \[4\], expected some within 0…3"):
        build_epoch(everywhere(10, 4), Sampling(boost={4: 2.0}), seed=0, epoch=0)


def test_uniform_sampling_ends_after_its_last_epoch() -> None:
    index, sampling = everywhere(40, 2), Sampling(class_uniform_until=5)
    assert [sum(per_class(build_epoch(index, sampling, seed=0, epoch=e), 2)) for e in (0, 5, 6)] == [20, 20, 0]


def mixed() -> ClassIndex:
    """2 annotated samples, and 8 propagated ones at ±1…±4 that are less sure the farther they are."""
    offsets = [0, 0, 1, -1, 2, -2, 3, -3, 4, -4]
    records = [record(n, offset, 1 - abs(offset) / 10) for n, offset in enumerate(offsets)]
    return index_of([(s, s % 3) for s in range(len(offsets))], 3, records)


def test_the_mixing_ratio_holds_and_each_kind_is_sampled_uniformly() -> None:
    sampling = Sampling(class_uniform=0.5, propagated=0.25, length=120)
    epoch = build_epoch(mixed(), sampling, seed=0, epoch=0)
    propagated = epoch.sample >= 2
    assert propagated.sum() == 30
    assert np.bincount(epoch.train_id[propagated & (epoch.train_id != ANYWHERE)]).tolist() == [5, 5, 5]
    # class 2 lies in no annotated sample: its share of them is cropped anywhere
    assert np.bincount(epoch.train_id[~propagated & (epoch.train_id != ANYWHERE)]).tolist() == [15, 15]
    assert epoch.absent == ()


def test_propagated_samples_alone_or_not_at_all() -> None:
    only = build_epoch(mixed(), Sampling(class_uniform=0, propagated=1), seed=0, epoch=0)
    assert set(only.sample.tolist()) == set(range(2, 10))
    alone = build_epoch(mixed(), Sampling(propagated=0), seed=0, epoch=0)
    assert set(alone.sample.tolist()) == {0, 1}
    assert len(alone) == 10
    assert alone.absent == (2,)


def test_what_is_annotated_follows_from_the_origin_alone() -> None:
    records = [
        replace(record(0), origin="pseudo"),
        replace(record(1, 3, 0.5), origin="annotated"),
        replace(record(2, 1), origin="refined"),
    ]
    index = index_of([(s, 0) for s in range(3)], 1, records)
    alone = build_epoch(index, Sampling(propagated=0), seed=0, epoch=0)
    assert set(alone.sample.tolist()) == {0, 1}
    only = build_epoch(index, Sampling(propagated=1), seed=0, epoch=0)
    assert set(only.sample.tolist()) == {2}


def test_limits_by_offset_and_confidence() -> None:
    def used(**limits: float) -> set[int]:
        return set(build_epoch(mixed(), Sampling(class_uniform=0, **limits), seed=0, epoch=0).sample.tolist())

    assert used(max_offset=1) == {0, 1, 2, 3}
    assert used(min_score=0.7) == {0, 1, 2, 3, 4, 5, 6, 7}
    assert used(max_offset=3, min_score=0.75) == {0, 1, 2, 3, 4, 5}
    assert used(max_offset=0) == {0, 1}


def test_kinds_without_a_sample_are_an_error() -> None:
    with pytest.raises(DataError, match=r"no propagated sample to train on among 10, within \|offset\| 0, "):
        build_epoch(mixed(), Sampling(propagated=0.5, max_offset=0), seed=0, epoch=0)
    unannotated = index_of([(0, 0)], 1, [record(0, 2, 0.5)])
    with pytest.raises(DataError, match="no annotated sample to train on among 1"):
        build_epoch(unannotated, Sampling(propagated=0.5, length=4), seed=0, epoch=0)


@pytest.mark.parametrize("propagated", [None, 0.5])
def test_no_sample_at_all_is_an_error(propagated: float | None) -> None:
    unsure = index_of([(0, 0)], 1, [record(0, 2, 0.5)])
    with pytest.raises(DataError, match=r"sample to train on among 1.* from mean confidence 0\.6; widen the limits"):
        build_epoch(unsure, Sampling(min_score=0.6, propagated=propagated), seed=0, epoch=0)


def test_a_data_set_without_a_trained_pixel_is_cropped_anywhere() -> None:
    epoch = build_epoch(index_of([], 3), Sampling(class_uniform=1.0), seed=0, epoch=0)
    assert sorted(epoch.sample.tolist()) == list(range(10))
    assert set(epoch.train_id.tolist()) == {ANYWHERE}
    assert epoch.absent == (0, 1, 2)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"class_uniform": 1.5}, "class_uniform must be within 0…1, found 1.5"),
        ({"propagated": -0.1}, "propagated must be within 0…1, found -0.1"),
        ({"min_score": 2}, "min_score must be within 0…1, found 2"),
        ({"max_offset": -1}, "max_offset must be 0 or more, found -1"),
        ({"length": 0}, "length must be 1 or more, found 0"),
        ({"boost": {3: 0.0}}, "boost must be above 0 for every class, found {3: 0.0}"),
    ],
)
def test_settings_outside_their_range_are_refused(settings_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**settings_)


class CountedOrders:
    """NumPy's randomness, which remembers the orders that were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def permutation(self, x: int, /) -> np.ndarray:
        self.asked.append(x)
        return np.arange(x)


@pytest.mark.parametrize(("num_items", "orders"), [(5, 1), (6, 2), (10, 2), (11, 3)])
def test_no_more_random_orders_are_drawn_than_are_needed(num_items: int, orders: int) -> None:
    random = CountedOrders()
    draw(centroids_at([0], [0]), np.arange(5), num_items, 0.0, np.ones(1), random)
    assert random.asked == [5] * orders


@pytest.mark.parametrize(("share", "propagated"), [(0.24, 2), (0.27, 3), (0.33, 3), (0.78, 8)])
def test_the_share_of_propagated_samples_is_rounded_to_the_nearest(share: float, propagated: int) -> None:
    index = index_of([(0, 0), (1, 0)], 1, [record(0), record(1, offset=2)])
    epoch = build_epoch(index, Sampling(propagated=share, length=10), seed=0, epoch=0)
    assert int((epoch.sample == 1).sum()) == propagated


def with_pseudo() -> ClassIndex:
    """Two annotated samples, four propagated ones at ±1 and ±2, and four that are pseudo-labelled, far away."""
    records = [record(0), record(1), *(record(n, offset, 0.5) for n, offset in enumerate((1, -1, 2, -2), start=2))]
    records += [replace(record(n, 10 * n, 0.2), origin="pseudo") for n in range(6, 10)]
    return index_of([(s, 0) for s in range(10)], 1, records)


def drawn(**sampling: float) -> list[int]:
    """How many samples are drawn that are annotated, propagated, and pseudo-labelled."""
    epoch = build_epoch(with_pseudo(), Sampling(class_uniform=0, length=100, **sampling), seed=0, epoch=0)
    return [int(((epoch.sample >= low) & (epoch.sample < high)).sum()) for low, high in ((0, 2), (2, 6), (6, 10))]


def test_pseudo_labelled_samples_have_a_share_of_their_own() -> None:
    assert drawn() == [20, 40, 40]
    assert drawn(pseudo=0.5, propagated=0) == [50, 0, 50]
    assert drawn(pseudo=0.25, propagated=0.5) == [25, 50, 25]
    assert drawn(pseudo=0)[2] == 0
    assert drawn(pseudo=1) == [0, 0, 100]
    annotated, propagated, pseudo = drawn(pseudo=0.4)
    assert (pseudo, annotated + propagated) == (40, 60)
    assert propagated == 2 * annotated
    assert drawn(propagated=0.4)[1] == 40


def test_limits_are_of_propagated_samples_alone() -> None:
    annotated, propagated, pseudo = drawn(max_offset=1, min_score=0.4)
    assert (propagated, pseudo) == (annotated, 2 * annotated)


def test_shares_that_cannot_be_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"propagated 0\.6 and pseudo 0\.5 are shares, at most 1 together"):
        Sampling(propagated=0.6, pseudo=0.5)
    with pytest.raises(
        DataError, match=r"no pseudo-labelled sample to train on among 10, .* name a store that has some"
    ):
        build_epoch(mixed(), Sampling(pseudo=0.5), seed=0, epoch=0)
