"""A row per sample, and counts over all of them."""

import math
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.stores import write_store

from propagate.data.images import encode_png
from propagate.data.sample import COVERED, ENTERED, MISMATCH, Sample
from propagate.errors import StoreError
from propagate.review.folder import worst
from propagate.review.survey import Counterparts, Survey, survey
from propagate.review.verdict import truth_table, verdict
from propagate.scoring.evaluate import evaluate_store, find_truths
from propagate.scoring.ranking import rank_score
from propagate.scoring.truth import truth_directory
from propagate.shards.reader import Store, open_store

MakeStore = Callable[..., Store]
MakeSample = Callable[..., Sample]


def row(found: Survey, number: int) -> dict[str, object]:
    columns = found.rows.columns(0, len(found.rows), [True] * len(found.rows))
    return {name: values[number] for name, values in columns.items() if name != "start"}


def test_a_row_says_what_a_sample_is_and_how_sure_of_each_class(make_store: MakeStore, make_sample: MakeSample) -> None:
    label, confidence = np.zeros((10, 20), np.uint8), np.full((10, 20), 15, np.uint8)
    label[:5], confidence[:5, :10], confidence[5:, :5] = 8, 3, 7
    reason = np.zeros((10, 20), np.uint8)
    reason[0, :10], reason[1, :5], reason[2, :7] = COVERED, ENTERED, MISMATCH
    store = make_store([make_sample(3, size=(10, 20), label=label, confidence=confidence, reason=reason)])
    (record,) = store.records()
    assert row(survey(store), 0) == {
        "key": "seq_000003",
        "source": 0,
        "group": 0,
        "offset": 3,
        "pairing": 0,
        "origin": 1,
        "digest": record.digest,
        "score": round(rank_score(label, confidence, store.manifest.classes), 4),
        "doubtful": 0.375,
        "fresh": 0.075,
        "levels": [0, 0, 0, 250, 0, 0, 0, 125, *[0] * 7, 625],
        "classes": [0, 8],
        "class_score": [round((25 * 7 / 15 + 75) / 100, 3), round((50 * 3 / 15 + 50) / 100, 3)],
        "drawn": 1,
        "miou": None,
        "wrong": None,
        "differs": None,
    }


def test_rows_are_ordered_by_trained_classes_alike_and_without_what_is_ignored(
    make_store: MakeStore, make_sample: MakeSample
) -> None:
    label = np.random.default_rng(0).integers(0, 34, (70, 90), np.uint8)
    sample = make_sample(1, key="a_000000_000001", label=label)
    store = make_store([sample], dataset="cityscapes")
    expected = rank_score(label, sample.confidence, store.manifest.classes)
    assert row(survey(store), 0)["score"] == round(expected, 4)
    assert abs(expected - sample.score) > 1e-3


def test_counts_are_by_offset_and_class_and_apart_for_annotated_frames(clip: Store) -> None:
    found = survey(clip)
    counts = found.pixels.to_json()
    assert list(counts["by_offset"]) == ["-2", "-1", "0", "1", "2"]
    assert counts["by_offset"]["1"][12:14] == [0.5, 0.5]  # levels 13 and 12 of the two clips
    assert counts["by_offset"]["0"][14:] == [0.5, 0.5]
    assert len(counts["pixels"]["annotated"]) == len(found.legend)
    assert sum(counts["pixels"]["propagated"]) == pytest.approx(1, abs=1e-4)
    labels = np.concatenate([sample.label.ravel() for sample in clip.samples() if sample.offset])
    assert counts["pixels"]["propagated"][:12] == [round((labels == label).mean(), 6) for label in range(12)]
    assert all(levels[14] == 0 for levels in counts["by_class"].values())  # which annotated frames alone have


def test_the_worst_come_first_and_annotated_frames_last(clip: Store) -> None:
    found = survey(clip)
    offsets = [found.rows.offset[number] for number, drawn in enumerate(worst(found.rows, 4)) if drawn]
    assert offsets == [-2, 2, -2, 2]
    assert [found.rows.offset[n] for n, drawn in enumerate(worst(found.rows, 8)) if not drawn] == [0, 0]
    assert not any(worst(found.rows, 0))
    assert all(worst(found.rows, 99))


def test_a_truth_gives_what_propagate_evaluate_says(clip: Store, tmp_path: Path) -> None:
    for sample in clip.samples():
        truth = np.where(np.arange(90) < 30, 5, sample.label).astype(np.uint8)
        if sample.key != "seq_000013":
            (tmp_path / f"{sample.key}.png").write_bytes(encode_png(truth))
    lookup = truth_directory(tmp_path)
    found = survey(clip, truths=find_truths(clip, lookup))
    assert found.scores is not None
    assert found.scores.to_json() == evaluate_store(clip, lookup).to_json()
    assert found.scores.without_truth == 1
    table = truth_table(found.scores)
    assert table["columns"][:3] == ["offset", "samples", "mIoU"]
    assert [line[:2] for line in table["rows"]] == [
        ["-2", 2], ["-1", 2], ["+1", 1], ["+2", 2], ["±1", 3], ["±2", 4], ["mean ±", 7]
    ]  # fmt: skip
    rows = [row(found, number) for number in range(10)]
    assert [each["wrong"] is None for each in rows] == [
        each["offset"] == 0 or each["key"] == "seq_000013" for each in rows
    ]
    sample = next(sample for sample in clip.samples() if sample.key == "seq_000014")
    scored = np.where(np.arange(90) < 30, 5, sample.label) != 11  # void
    wrong = (sample.label != 5) & (np.arange(90) < 30) & scored
    assert next(each for each in rows if each["key"] == "seq_000014")["wrong"] == round(wrong.sum() / scored.sum(), 4)


def test_another_store_is_compared_sample_by_sample(clip: Store, tmp_path: Path) -> None:
    samples = [replace(sample, label=np.roll(sample.label, sample.offset, 1)) for sample in clip.samples()][:-1]
    other = open_store(write_store(tmp_path / "other", [samples[::-1]], clip.manifest.classes))
    found = survey(clip, against=Counterparts(other, clip))
    differs = [row(found, number)["differs"] for number in range(10)]
    assert differs[0] == differs[5] == 0
    assert differs[9] is None
    expected = (samples[1].label != np.roll(samples[1].label, 2, 1)).mean()
    assert differs[1] == round(expected, 4)
    most = int(np.argmax([each or 0 for each in differs]))
    assert worst(found.rows, 1).index(True) == most


def test_stores_that_have_nothing_in_common_are_not_compared(
    clip: Store, tmp_path: Path, make_sample: MakeSample
) -> None:
    other = open_store(write_store(tmp_path / "other", [[make_sample(50)]], clip.manifest.classes))
    with pytest.raises(StoreError, match="has no sample of the same source, offset and pairing as"):
        Counterparts(other, clip)
    table = replace(clip.manifest.classes, name="mine")
    other = open_store(write_store(tmp_path / "third", [list(clip.samples())], table))
    with pytest.raises(StoreError, match="its class table 'mine' is not that of"):
        Counterparts(other, clip)


def test_labels_beyond_the_table_are_classes_of_their_own(make_store: MakeStore, make_sample: MakeSample) -> None:
    found = survey(make_store([make_sample(1, label=np.full((70, 90), 77, np.uint8))]))
    last = found.legend.to_json()[-1]
    assert (last["id"], last["name"], last["ignored"]) == (77, "id 77", True)
    assert row(found, 0)["classes"] == [len(found.legend) - 1]


def test_a_confidence_that_cannot_be_is_an_error(make_store: MakeStore, make_sample: MakeSample) -> None:
    confidence = np.zeros((70, 90), np.uint8)
    confidence[3, 4] = 16
    store = make_store([make_sample(1, confidence=confidence)])
    with pytest.raises(StoreError, match=r"shard-00000.h5: sample 0: has a level above 15"):
        survey(store)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ({0: 15, 1: 15, -1: 15, 2: 14}, "Labels are safe up to ±2, the farthest there are: 93.3 % of their pixels"),
        (
            {1: 15, -1: 14, 2: 13, 3: 15},
            "Labels are safe up to ±1: 96.7 % of their pixels are probably right there, and 86.7 % at ±2, by",
        ),
        ({1: 3}, "Labels are not safe at any offset: 20.0 % of their pixels are probably right at ±1, by their mean"),
        ({0: 15}, "There are annotated frames alone"),
    ],
)
def test_the_verdict_names_the_last_offset_before_the_first_doubtful_one(levels: dict[int, int], said: str) -> None:
    counts = {offset: np.eye(16, dtype=np.int64)[level] for offset, level in levels.items()}
    assert verdict(counts).startswith(said)


def test_a_reason_that_cannot_be_is_an_error(make_store: MakeStore, make_sample: MakeSample) -> None:
    reason = np.zeros((70, 90), np.uint8)
    reason[3, 4] = 4
    store = make_store([make_sample(1, reason=reason)])
    with pytest.raises(StoreError, match=r"shard-00000.h5: sample 0: has a reason above 3"):
        survey(store)


def test_shares_that_are_not_known_are_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).parents[1] / "shards/store_version_2.zip") as archive:
        archive.extractall(tmp_path)
    found = survey(open_store(tmp_path))
    assert all(math.isnan(share) for share in found.rows.fresh)
    assert not found.has_reasons
