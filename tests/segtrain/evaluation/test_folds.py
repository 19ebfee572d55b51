"""Folds of Cityscapes are scored on only by networks that were validated on the same cities."""

from pathlib import Path
from typing import Any

import pytest

from propagate.data.classes import load_classes
from propagate.datasets.base import DatasetOptions
from propagate.shards.reader import SampleRecord
from segtrain.data.identity import groups, identity
from segtrain.errors import DataError
from segtrain.evaluation.folds import require_same_fold

FOLD_2 = ("monchengladbach", "strasbourg", "stuttgart")


class Cities:
    """A sample of each city, of which nothing but its record is asked for."""

    classes = load_classes("cityscapes")

    def __init__(self, *cities: str) -> None:
        self.records = tuple(
            SampleRecord(
                key=f"{city}_000000_000019",
                source_key=f"{city}_000000_000019",
                group=city,
                offset=0,
                pairing="label",
                score=1.0,
                origin="annotated",
            )
            for city in cities
        )


def check(settings: dict[str, Any], split: str, *cities: str, dataset: str = "cityscapes") -> None:
    options = DatasetOptions(root=Path("data"), split=split)
    require_same_fold({"settings": settings}, dataset, options, Cities(*cities))  # type: ignore[arg-type]


def trained(split: str, *cities: str) -> dict[str, Any]:
    """What a run records of its validation."""
    samples: Any = Cities(*cities)
    return {
        "dataset": "cityscapes",
        "val_split": split,
        "validation": identity(samples),
        "validation_groups": groups(samples),
    }


def test_a_fold_that_held_out_other_cities_is_not_scored_on() -> None:
    check(trained("cv2-val", *FOLD_2), "cv2-val", *FOLD_2)
    message = (
        "'cv2-val' holds monchengladbach, strasbourg, stuttgart, but darmstadt, dusseldorf, stuttgart were held out"
    )
    with pytest.raises(DataError, match=message):
        check(trained("cv2-val", "stuttgart", "darmstadt", "dusseldorf"), "cv2-val", *FOLD_2)


def test_a_run_that_recorded_no_cities_is_known_by_its_samples() -> None:
    """As those of earlier versions, whose folds were cut otherwise."""
    before = trained("cv2-val", "darmstadt", "dusseldorf", "stuttgart")
    del before["validation_groups"]
    with pytest.raises(DataError, match="but other cities were held out when this network was trained"):
        check(before, "cv2-val", *FOLD_2)
    same = trained("cv0-val", "frankfurt", "lindau", "munster")
    del same["validation_groups"]
    check(same, "cv0-val", "frankfurt", "lindau", "munster")


def test_some_of_the_cities_may_be_scored_on() -> None:
    check(trained("cv2-val", *FOLD_2), "cv2-val", "strasbourg")


def test_other_splits_and_data_sets_are_not_in_question() -> None:
    run = trained("cv2-val", "darmstadt")
    check(run, "cv1-val", *FOLD_2)
    check(run, "cv2-val", *FOLD_2, dataset="camvid")
    check(trained("val", "darmstadt"), "val", *FOLD_2)
    check({}, "cv2-val", *FOLD_2)
    unvalidated = {**trained("cv2-val", "darmstadt"), "validation": None, "validation_groups": None}
    check(unvalidated, "cv2-val", *FOLD_2)
