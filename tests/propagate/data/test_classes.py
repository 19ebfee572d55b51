"""Class tables: those that come with the package, those from files, and what a table must be."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from propagate.data.classes import ClassTable, builtin_tables, load_classes
from propagate.errors import DatasetError

MINE: dict[str, Any] = {
    "name": "mine",
    "ignore_id": 9,
    "classes": [
        {"id": 9, "name": "rest", "train_id": 255, "color": [0, 0, 0]},
        {"id": 4, "name": "road", "train_id": 0, "color": [1, 2, 3]},
        {"id": 5, "name": "ramp", "train_id": 0, "color": [4, 5, 6]},
        {"id": 0, "name": "sky", "train_id": 1, "color": [7, 8, 9]},
        {"id": 1, "name": "ego", "train_id": 255, "color": [10, 11, 12]},
    ],
}


def changed(**fields: object) -> dict[str, Any]:
    return copy.deepcopy(MINE) | fields


def with_class(index: int, **fields: object) -> dict[str, Any]:
    data = copy.deepcopy(MINE)
    data["classes"][index] |= fields
    return data


def test_the_package_brings_cityscapes_and_camvid() -> None:
    assert builtin_tables() == ["camvid", "cityscapes"]


@pytest.mark.parametrize(
    ("name", "num_ids", "num_trained", "ignore_id"), [("cityscapes", 34, 19, 0), ("camvid", 12, 11, 11)]
)
def test_tables_that_come_with_the_package(name: str, num_ids: int, num_trained: int, ignore_id: int) -> None:
    table = load_classes(name)
    assert table.name == name
    assert sorted(c.id for c in table.classes) == list(range(num_ids))
    assert len(table.train_names) == num_trained
    assert table.ignore_id == ignore_id
    assert len({c.color for c in table.classes if c.train_id != 255}) == num_trained


def test_well_known_ids_of_cityscapes() -> None:
    table = load_classes("cityscapes")
    assert table.train_id_of[[7, 26, 33, 0, 29]].tolist() == [0, 13, 18, 255, 255]
    assert table.train_names[0] == "road"
    assert table.train_names[18] == "bicycle"
    assert table.palette[26].tolist() == [0, 0, 142]


def test_ids_and_train_ids_map_both_ways() -> None:
    table = ClassTable.from_json(MINE)
    assert table.train_id_of[[9, 4, 5, 0, 1, 77]].tolist() == [255, 0, 0, 1, 255, 255]
    # the first class that has a train id stands for it; 255 becomes the ignored id; others are unknown
    assert table.id_of_train_id[[0, 1, 2, 255]].tolist() == [4, 0, -1, 9]
    assert table.train_names == ("road", "sky")
    assert table.palette[5].tolist() == [4, 5, 6]
    assert table.palette[77].tolist() == [0, 0, 0]


def test_plain_values_and_back() -> None:
    assert ClassTable.from_json(MINE).to_json() == MINE


def test_a_table_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MINE))
    assert load_classes(path) == load_classes(str(path)) == ClassTable.from_json(MINE)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (with_class(1, id=0), "'mine': label ids must be distinct and within 0…255"),
        (with_class(1, id=256), "label ids must be distinct and within 0…255"),
        (changed(ignore_id=77), r"ignore_id 77 is none of its ids \[9, 4, 5, 0, 1\]"),
        (changed(ignore_id=4), "the ignored id 4 must have train_id 255"),
        (with_class(3, train_id=2), r"train ids must count 0, 1, 2, … without gaps .* found \[0, 2\]"),
        (with_class(1, color=[1, 2]), r"^here: a color has three values .* found \[1, 2\]; a class"),
        (with_class(1, color=[1, 2, 256]), r"here: a color has three values within 0…255, found"),
        (with_class(1, train_id=300), r"train ids must be within 0…255, 255 where not trained: .*300"),
        (with_class(1, name="sky"), "names must differ"),
        (changed(classes=MINE["classes"][:1]), r"train ids must count .* found \[\]"),
        (with_class(1, train_id="road"), "^here: invalid literal .*; a class table needs name, ignore_id and classes"),
        ({"name": "mine"}, "^here: lacks 'ignore_id'; a class table needs"),
        (["name"], "^here: .*list.*; a class table needs"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(data: Any, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        ClassTable.from_json(data, where="here")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"citiscapes: no such class table \(.*\); give .* one of camvid.*; did you mean 'cityscapes'\?",
    ):
        load_classes("citiscapes")
    for name, data in (("brackets.yaml", b"[1, 2"), ("binary.yaml", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DatasetError, match=f"{name}: not a YAML file"):
            load_classes(tmp_path / name)


def test_a_colour_of_several_classes_is_the_trained_ones() -> None:
    codes, ids = load_classes("cityscapes").colors
    assert ids[codes == 0] == [load_classes("cityscapes").ignore_id], (
        "black is that of five classes, none of them trained"
    )
    table = load_classes("camvid").to_json()
    table["classes"][3]["color"] = table["classes"][4]["color"]
    with pytest.raises(DatasetError, match=r"Road and Pavement have the color \[60, 40, 222\].*change one"):
        _ = ClassTable.from_json(table).colors


def test_a_layout_file_names_a_table_too(tmp_path: Path) -> None:
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(MINE))
    for classes, expected in (("camvid", "camvid"), ("table.yaml", "mine"), (MINE, "mine")):
        layout = tmp_path / "layout.yaml"
        layout.write_text(yaml.safe_dump({"labels_hold": "colors", "classes": classes}))
        assert load_classes(layout).name == expected
