import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.scoring.evaluate import count_reliability, evaluate_store
from propagate.scoring.report import OffsetCounts, Report
from propagate.scoring.truth import TruthLookup, truth_directory
from propagate.shards.reader import Store

MakeStore = Callable[..., Store]
SIZE = (8, 16)
IMAGE = encode_png(np.zeros((*SIZE, 3), np.uint8))
ROAD, CAR, VOID = 3, 8, 11
LEVEL_FULL = 15


def halves(left: int, right: int) -> np.ndarray:
    label = np.full(SIZE, left, np.uint8)
    label[:, SIZE[1] // 2 :] = right
    return label


def sample(key: str, offset: int, label: np.ndarray, source: str = "s", level: int = LEVEL_FULL) -> Sample:
    return Sample(
        key=key,
        source_key=source,
        group="g",
        offset=offset,
        pairing="label",
        origin="propagated" if offset else "annotated",
        image=IMAGE,
        label=label,
        confidence=np.full(label.shape, level, np.uint8),
        reason=np.zeros(label.shape, np.uint8),
    )


@pytest.fixture
def truths(tmp_path: Path) -> Callable[..., TruthLookup]:
    """Lookups of the label maps given by key."""

    def write(**labels: np.ndarray) -> TruthLookup:
        folder = tmp_path / "truth"
        folder.mkdir()
        for key, label in labels.items():
            (folder / f"{key}.png").write_bytes(encode_png(label))
        return truth_directory(folder)

    return write


def test_what_is_scored_follows_from_the_origin_alone(
    make_store: MakeStore, truths: Callable[..., TruthLookup]
) -> None:
    truth = halves(ROAD, CAR)
    predicted = replace(sample("s", 0, truth), origin="pseudo")
    drawn = replace(sample("t", 1, halves(CAR, ROAD)), origin="annotated")
    found = evaluate_store(make_store([predicted, drawn]), truths(s=truth, t=truth)).to_json()
    assert list(found["offsets"]) == ["0"]
    assert found["offsets"]["0"]["miou"] == 1


def test_directions_are_pooled_by_counts_and_offset_0_is_left_out(
    make_store: MakeStore, truths: Callable[..., TruthLookup]
) -> None:
    truth = halves(ROAD, CAR)
    store = make_store(
        [
            sample("before", -1, halves(ROAD, ROAD)),
            sample("s", 0, halves(CAR, ROAD)),
            sample("after", 1, truth),
            sample("far", 2, halves(ROAD, VOID)),
        ]
    )
    found = evaluate_store(store, truths(before=truth, s=truth, after=truth, far=truth)).to_json()
    assert list(found["offsets"]) == ["-1", "1", "2"]
    assert list(found["abs_offsets"]) == ["1", "2"]
    assert found["offsets"]["-1"]["miou"] == pytest.approx((0.5 + 0) / 2)
    assert found["offsets"]["1"]["miou"] == 1
    # road: 128 pixels right of 192 in the union; car: 64 of 128. Not the mean of 0.25 and 1.
    assert found["abs_offsets"]["1"]["miou"] == pytest.approx((128 / 192 + 64 / 128) / 2)
    far = found["abs_offsets"]["2"]
    assert far["miou"] == pytest.approx((1 + 0) / 2)
    assert (far["miou_covered"], far["accuracy"], far["coverage"], far["samples"]) == (1, 0.5, 0.5, 1)
    assert found["miou"] == pytest.approx((found["abs_offsets"]["1"]["miou"] + 0.5) / 2)
    assert found["classes"]["Road"] == pytest.approx(192 / 256)
    assert found["classes"]["Car"] == pytest.approx(64 / 192)
    assert found["classes"]["Sky"] is None
    assert (found["scored"], found["without_truth"], found["failures"]) == (3, 0, [])
    json.dumps(found, allow_nan=False)


def test_void_truth_is_not_scored(make_store: MakeStore, truths: Callable[..., TruthLookup]) -> None:
    store = make_store([sample("a", 1, halves(ROAD, CAR))])
    found = evaluate_store(store, truths(a=halves(ROAD, VOID))).to_json()["offsets"]["1"]
    assert (found["miou"], found["accuracy"], found["coverage"]) == (1, 1, 1)


def test_the_trimap_is_scored_within_3_pixels_of_the_boundary(
    make_store: MakeStore, truths: Callable[..., TruthLookup]
) -> None:
    label = halves(ROAD, CAR)
    label[:, :4] = CAR  # wrong, but 4 pixels and more from the boundary of the truth at column 8
    label[:, 5] = CAR  # wrong within the band 5…10
    found = evaluate_store(make_store([sample("a", 1, label)]), truths(a=halves(ROAD, CAR)))
    assert found.to_json()["offsets"]["1"]["trimap_miou"] == pytest.approx((2 / 3 + 3 / 4) / 2)


def test_every_pair_counts_by_itself(make_store: MakeStore, truths: Callable[..., TruthLookup]) -> None:
    store = make_store([sample("a", 2, halves(ROAD, CAR), "s"), sample("a", -2, halves(ROAD, ROAD), "t")])
    found = evaluate_store(store, truths(a=halves(ROAD, CAR))).to_json()
    assert found["scored"] == 2
    assert found["abs_offsets"]["2"]["accuracy"] == 0.75


def test_what_has_no_truth_is_counted_and_progress_hears_of_every_sample(
    make_store: MakeStore, truths: Callable[..., TruthLookup]
) -> None:
    store = make_store([sample("s", 0, halves(ROAD, CAR)), *(sample(k, 1, halves(ROAD, CAR)) for k in "abc")])
    heard: list[int] = []
    found = evaluate_store(store, truths(b=halves(ROAD, CAR)), on_progress=heard.append)
    assert (found.scored, found.without_truth, sum(heard)) == (1, 2, 4)


def test_a_bad_truth_is_a_failure_and_the_rest_goes_on(
    make_store: MakeStore, truths: Callable[..., TruthLookup]
) -> None:
    label = halves(ROAD, CAR)
    store = make_store([sample("small", 1, label), sample("strange", 1, label), sample("good", 1, label)])
    found = evaluate_store(store, truths(small=label[:4], strange=halves(ROAD, 77), good=label))
    small, strange = found.failures
    assert (small.key, small.source_key, small.offset) == ("small", "s", 1)
    assert small.path.endswith("truth/small.png")
    assert "4x16 (HxW), its sample 8x16" in small.reason
    assert "77" in strange.reason
    assert found.scored == 1
    assert f"failed: {small.path}: {small.reason}" in found.table()
    assert found.to_json()["failures"][0]["reason"] == small.reason


def test_without_any_truth_the_way_to_give_one_is_told(
    make_store: MakeStore, truths: Callable[..., TruthLookup]
) -> None:
    label = halves(ROAD, CAR)
    store = make_store([sample("s", 0, label), sample("a", 1, label)])
    with pytest.raises(StoreError, match=r"none of its 1 propagated frames \(such as a\).* give --truth DIR"):
        evaluate_store(store, truths(s=label))


def test_a_store_without_samples_is_refused(make_store: MakeStore, truths: Callable[..., TruthLookup]) -> None:
    with pytest.raises(StoreError, match="holds no samples yet; `propagate run` goes on with it"):
        evaluate_store(make_store([]), truths())


def test_a_store_without_neighbours_is_refused(make_store: MakeStore, truths: Callable[..., TruthLookup]) -> None:
    store = make_store([sample("s", 0, halves(ROAD, CAR))])
    with pytest.raises(StoreError, match="holds no propagated samples, only annotated frames"):
        evaluate_store(store, truths(s=halves(ROAD, CAR)))


def test_truth_of_train_ids_scores_as_label_ids_do(make_store: MakeStore, tmp_path: Path) -> None:
    classes = load_classes("cityscapes")
    label = halves(7, 26)  # road, car
    for folder, ending, truth in (
        ("ids", "labelIds", label),
        ("train", "labelTrainIds", classes.train_id_of[label]),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"a_gtFine_{ending}.png").write_bytes(encode_png(truth))
    store = make_store([sample("a", 1, halves(7, 4))], dataset="cityscapes")  # static is a miss
    by_ids, by_train_ids = (evaluate_store(store, truth_directory(tmp_path / f)).to_json() for f in ("ids", "train"))
    assert by_ids == by_train_ids
    assert by_ids["miou"] == 0.5
    assert by_ids["offsets"]["1"]["coverage"] == 0.5


def test_reliability_counts_wrong_and_right_by_level_where_both_sides_have_a_class() -> None:
    truth = np.array([[0, 1, 255, 1, 2]], np.uint8)
    prediction = np.array([[0, 0, 0, 255, 2]], np.uint8)
    levels = np.array([[15, 3, 3, 3, 15]], np.uint8)
    counts = count_reliability(truth, prediction, levels)
    assert counts[15].tolist() == [0, 2]
    assert counts[3].tolist() == [1, 0]
    assert counts.sum() == 3


def report_with(reliability: dict[int, tuple[int, int]]) -> Report:
    report = Report.empty(("a", "b"))
    table = np.zeros((16, 2), np.int64)
    for level, counts in reliability.items():
        table[level] = counts
    matrix = np.array([[5, 1, 2], [0, 0, 0]])
    report.add(-1, OffsetCounts(samples=3, whole=matrix, band=matrix * 0), table)
    return report


def test_the_confidence_is_summed_up_below_and_above_one_half() -> None:
    found = report_with({0: (6, 2), 7: (0, 2), 8: (1, 9), 15: (1, 29)}).to_json()["confidence"]
    assert found["error_below_half"] == pytest.approx(6 / 10)
    assert found["error_above_half"] == pytest.approx(2 / 40)
    assert found["error_ratio"] == pytest.approx(12)
    assert [(b["low"], b["high"]) for b in found["bins"]] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
    assert [b["share"] for b in found["bins"]] == pytest.approx([0.16, 0.04, 0.2, 0.6])
    assert [b["right"] for b in found["bins"]] == pytest.approx([2 / 8, 1, 9 / 10, 29 / 30])


def test_the_table_is_aligned_and_marks_what_has_no_score() -> None:
    lines = report_with({15: (1, 3)}).table().splitlines()
    assert lines[:4] == [
        "offset  samples  mIoU  covered mIoU  accuracy  coverage  trimap mIoU",
        "-1            3  31.2          41.7      62.5      75.0            -",
        "±1            3  31.2          41.7      62.5      75.0            -",
        "mean ±        3  31.2",
    ]
    assert "0.75 to 1.00   100.0   75.0" in lines


def test_labels_left_in_place_score_as_the_reference_says(data: Path, make_store: MakeStore) -> None:
    root = data / "camvid_15hz"
    keys = sorted(path.stem for path in (root / "clip").glob("*.png"))
    annotated = {i: root / "clipannot" / f"{key}.png" for i, key in enumerate(keys)}
    samples = [
        sample(keys[i + offset], offset, np.array(Image.open(path)), keys[i])
        for i, path in annotated.items()
        if path.exists()
        for offset in range(-5, 6)
        if 0 <= i + offset < len(keys)
    ]
    found = evaluate_store(make_store(samples), truth_directory(root / "truth")).to_json()
    mious = [entry["miou"] for entry in found["abs_offsets"].values()]
    assert mious == pytest.approx([0.766, 0.677, 0.619, 0.584, 0.558], abs=0.0005)  # published to three digits
    assert found["miou"] == pytest.approx(0.641, abs=0.0005)
    assert (found["without_truth"], found["failures"]) == (0, [])


def test_counts_of_samples_add_up_in_the_band_too() -> None:
    def counts(hits: int, misses: int) -> OffsetCounts:
        whole = np.array([[10 * hits, 10 * misses, 0], [0, 0, 0]])
        return OffsetCounts(samples=1, whole=whole, band=whole // 10)

    both = counts(3, 1) + counts(1, 3)
    assert (both.samples, both.whole[0].tolist(), both.band[0].tolist()) == (2, [40, 40, 0], [4, 4, 0])
    assert both.scores()["trimap_miou"] == 0.25  # one half, and nothing of what was taken for it
