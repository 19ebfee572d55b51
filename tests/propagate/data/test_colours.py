"""Label maps in the colours of their classes, over their image, and beside the truth."""

import numpy as np
import pytest

from propagate.data.classes import ClassTable, load_classes
from propagate.data.colours import (
    colours_of_label_ids,
    colours_of_names,
    colours_of_train_ids,
    difference,
    overlay,
)

CLASSES = ClassTable.from_json(
    {
        "name": "mine",
        "ignore_id": 9,
        "classes": [
            {"id": 9, "name": "rest", "train_id": 255, "color": [9, 9, 9]},
            {"id": 4, "name": "road", "train_id": 0, "color": [1, 2, 3]},
            {"id": 5, "name": "ramp", "train_id": 0, "color": [4, 5, 6]},
            {"id": 0, "name": "sky", "train_id": 1, "color": [7, 8, 255]},
        ],
    }
)


def test_a_label_id_has_its_own_colour_and_a_train_id_that_of_its_first_class() -> None:
    assert colours_of_label_ids(np.uint8([[4, 5, 77]]), CLASSES).tolist() == [[[1, 2, 3], [4, 5, 6], [0, 0, 0]]]
    assert colours_of_train_ids(np.uint8([[0, 1, 255]]), CLASSES).tolist() == [[[1, 2, 3], [7, 8, 255], [9, 9, 9]]]


def test_names_have_colours_in_the_order_of_train_ids() -> None:
    assert list(colours_of_names(CLASSES).items()) == [("road", "#010203"), ("sky", "#0708ff")]
    assert tuple(colours_of_names(load_classes("cityscapes"))) == load_classes("cityscapes").train_names


@pytest.mark.parametrize(("share", "expected"), [(0.0, "image"), (1.0, "colours"), (0.5, "halves")])
def test_an_overlay_shows_so_much_of_the_colours(share: float, expected: str) -> None:
    values = np.arange(256, dtype=np.uint8)
    image, colours = np.meshgrid(values, values)
    halves = (image.astype(np.uint16) + colours) // 2
    shown = overlay(image, colours, share)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, {"image": image, "colours": colours, "halves": halves}[expected])


def test_what_is_wrong_has_the_colour_of_what_was_found_but_where_the_truth_ignores() -> None:
    image = np.full((1, 3, 3), (30, 60, 90), np.uint8)
    shown = difference(image, np.uint8([[0, 1, 1]]), np.uint8([[0, 0, 255]]), CLASSES)
    assert shown.tolist() == [[[30, 30, 30], [7, 8, 255], [30, 30, 30]]]
