"""COCO's instances as cocodataset.org documents them, and what is wrong with those that are not so."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.annotations import frames_of, grid, labels_of, leftovers, write_frames

from propagate.data.classes import ClassTable, load_classes
from propagate.errors import DatasetError, InputError
from propagate.formats.importing import import_annotations

# Of 6x8 pixels: a road as uncompressed runs, a person as a polygon upon it, a car as compressed runs of the two columns
# at the right, a group of people as uncompressed runs, and a box without a segmentation.
DOCUMENTED: dict[str, Any] = {
    "info": {"year": 2024, "version": "1.0", "description": "", "contributor": "", "url": "", "date_created": ""},
    "licenses": [{"id": 1, "name": "none", "url": ""}],
    "images": [
        {"id": 7, "width": 8, "height": 6, "file_name": "drive_000002.png", "license": 1},
        {"id": 3, "width": 8, "height": 6, "file_name": "drive_000001.png", "license": 1},
    ],
    "categories": [
        {"id": 90, "name": "road", "supercategory": "ground"},
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 17, "name": "car", "supercategory": "vehicle"},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 90,
            "segmentation": {"size": [6, 8], "counts": [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]},
            "area": 24,
            "bbox": [0, 3, 8, 3],
            "iscrowd": 1,
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 1,
            "segmentation": [[1, 2, 4, 2, 4, 5, 1, 5], [5, 0, 6, 0, 6, 1, 5, 1]],
            "area": 10.0,
            "bbox": [1, 0, 5, 5],
            "iscrowd": 0,
        },
        {
            "id": 3,
            "image_id": 7,
            "category_id": 17,
            "segmentation": {"size": [6, 8], "counts": "T1<"},
            "area": 12,
            "bbox": [6, 0, 2, 6],
            "iscrowd": 0,
        },
        {"id": 4, "image_id": 3, "category_id": 17, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0},
    ],
}
EXPECTED = grid(
    """
    .....pcc
    ......cc
    .ppp..cc
    rppprrcc
    rppprrcc
    rrrrrrcc
    """,
    **{".": 255, "r": 0, "p": 1, "c": 2},
)


def write_coco(root: Path, content: Any) -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / "instances_default.json").write_text(json.dumps(content))
    return write_frames(root, [f"images/drive_00000{n}.png" for n in (1, 2, 3)])


def test_the_documented_form(tmp_path: Path) -> None:
    root, dest = write_coco(tmp_path / "coco", DOCUMENTED), tmp_path / "mine"
    done = import_annotations(root, dest, "coco")
    assert (done.frames, done.labelled, done.sequences, done.classes) == (3, 1, 1, 3)
    assert done.passed_over == {"annotations without a segmentation": 1}
    assert frames_of(dest) == [f"drive/00000{n}.png" for n in (1, 2, 3)]
    assert list(labels_of(dest)) == ["drive/000002"]
    assert np.array_equal(labels_of(dest)["drive/000002"], EXPECTED)
    assert (dest / "frames/drive/000003.png").read_bytes() == (root / "images/drive_000003.png").read_bytes()
    table = load_classes(dest / "classes.yaml")
    assert [(c.id, c.name, c.train_id) for c in table.classes] == [
        (0, "road", 0),
        (1, "person", 1),
        (2, "car", 2),
        (255, "unlabelled", 255),
    ]
    assert yaml.safe_load((dest / "layout.yaml").read_text())["labels_hold"] == "label_ids"
    assert leftovers(tmp_path) == []


def test_a_class_table_decides_the_ids(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco", DOCUMENTED)
    names = {"car": 5, "road": 7, "person": 9, "sky": 11}
    classes = [{"id": i, "name": name, "train_id": n, "color": [i, 0, 0]} for n, (name, i) in enumerate(names.items())]
    void = {"id": 200, "name": "void", "train_id": 255, "color": [0, 0, 0]}
    table = ClassTable.from_json({"name": "mine", "ignore_id": 200, "classes": [*classes, void]})
    import_annotations(root, tmp_path / "mine", "coco", table)
    assert np.array_equal(
        labels_of(tmp_path / "mine")["drive/000002"], np.array([7, 9, 5, *[0] * 252, 200], np.uint8)[EXPECTED]
    )
    assert load_classes(tmp_path / "mine" / "classes.yaml") == table


def test_classes_that_the_table_lacks_are_counted(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco", DOCUMENTED)
    classes = [
        {"id": 0, "name": "person", "train_id": 0, "color": [1, 0, 0]},
        {"id": 1, "name": "void", "train_id": 255, "color": [0, 0, 0]},
    ]
    table = ClassTable.from_json({"name": "people", "ignore_id": 1, "classes": classes})
    with pytest.raises(DatasetError) as caught:
        import_annotations(root, tmp_path / "mine", "coco", table)
    assert str(caught.value) == (
        f"{root}: labels that class table 'people' does not have: road (12 pixels, first in images/drive_000002.png, "
        "row 3, column 0), car (12 pixels, first in images/drive_000002.png, row 0, column 6); add them to the table, "
        "with train_id 255 where they are not to be trained, or rename them"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco"]


def test_the_file_may_be_named_where_there_are_several(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco", DOCUMENTED)
    other = root / "annotations" / "instances_val.json"
    other.write_text((root / "annotations" / "instances_default.json").read_text())
    with pytest.raises(
        DatasetError, match=r"several could be .*instances_default.json, .*instances_val.json; name one"
    ):
        import_annotations(root, tmp_path / "mine", "coco")
    assert import_annotations(other, tmp_path / "mine", "coco").labelled == 1


def changed(path: str, value: Any) -> dict[str, Any]:
    """The documented form with another value at a path such as annotations.0.segmentation.counts."""
    content = deepcopy(DOCUMENTED)
    *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = content
    for part in parts:
        place = place[part]
    place[last] = value
    return content


RLE = "annotations.0.segmentation"
POLYGON = "annotations.1.segmentation"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "the file is no object with fields; export it again"),
        ({}, "categories is missing, expected a list"),
        (changed("images.0.height", "6"), "images[0]: height is '6', expected a whole number; export it again"),
        (changed("images.0.height", 5), "image drive_000002.png is annotated as 5x8, and its frame is 6x8; export"),
        (changed("images.0.id", 3), "images[1]: its id 3 is that of drive_000002.png too"),
        (changed("images.0.file_name", "../../x.png"), "names the image '../../x.png', which leads out of"),
        (changed("images.0.file_name", "/etc/x.png"), "names the image '/etc/x.png', which leads out of"),
        (changed("images.0.file_name", "a\0.png"), r"names the image 'a\x00.png', which leads out of"),
        (
            changed("images.0.file_name", "gone_1.png"),
            "1 of 1 annotated frames are not there as PNG or JPEG, such as 'g",
        ),
        (changed("categories.1.id", 90), "categories[1]: its id 90 is that of 'road' too; change one"),
        (changed("categories.1.name", "road"), "declares the class 'road' twice; rename one of them"),
        (changed("categories.1.name", "a\nb"), r"'a\nb' cannot be a class's name"),
        (changed("categories.1.name", "\ud800"), "cannot be a class's name"),
        (changed("annotations.0.image_id", 8), "annotations[0]: image_id is 8, and no image has that id"),
        (changed("annotations.0.category_id", 8), "annotations[0]: category_id is 8, and no category has that id"),
        (changed("annotations.0.category_id", True), "annotations[0]: category_id is True, expected a whole number"),
        (changed(f"{RLE}.counts", [3, 3]), "annotations[0]: its runs cover 6 pixels, expected 48; export it again"),
        (changed(f"{RLE}.counts", [-3, 51]), "annotations[0]: its runs cover 48 pixels, expected 48"),
        (changed(f"{RLE}.counts", [1 << 64]), "annotations[0]: its runs cover 18446744073709551616 pixels, expected"),
        (changed(f"{RLE}.counts", [48.0]), "annotations[0]: counts holds what is no whole number"),
        (changed(f"{RLE}.counts", "T1"), "annotations[0]: its runs cover 36 pixels, expected 48"),
        (changed(f"{RLE}.counts", "T1<0 "), "annotations[0]: its text of runs is none: ' ' after 3 runs"),
        (changed(f"{RLE}.counts", "o"), "annotations[0]: its text of runs ends within a number"),
        (changed(f"{RLE}.counts", "oooooooo0"), "annotations[0]: its text of runs is none"),
        (
            changed(RLE, {"size": [31623, 31623], "counts": [1000014129]}),
            "runs of the size [31623, 31623], of an image",
        ),
        (changed(POLYGON, [[1, 2, 4, 2]]), "annotations[1]: a polygon of 4 coordinates, expected 3 points or more"),
        (
            changed(POLYGON, [[1, 2, 4, 2, 9.1, 3]]),
            "annotations[1]: a polygon with the point 9.1, 3, outside of an image",
        ),
        (changed(POLYGON, [[1, 2, 4, 2, 1e9, 3]]), "a polygon with the point 1e+09, 3, outside of an image of 6x8"),
        (changed(POLYGON, [[1, 2, 4, 2, float("nan"), 3]]), "a polygon with the point nan, 3, outside of an image"),
        (changed(POLYGON, [[0, 0, 8, 6] * 200_000]), "a polygon with an outline of 3200000 pixels, expected at most"),
        (changed(POLYGON, [[1, 2, 4, 2, 10**400, 3]]), "a polygon has a number that is far too large"),
        (changed(POLYGON, "T1<"), "annotations[1]: segmentation is 'T1<', expected runs or polygons"),
        (changed("annotations", []), "no frame is annotated there with an area; annotate some"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, content: Any, sentence: str) -> None:
    root = write_coco(tmp_path / "coco", content)
    with pytest.raises((DatasetError, InputError)) as caught:
        import_annotations(root, tmp_path / "mine", "coco")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(root))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not a JSON file (Expecting property name"),
        ("[" * 100_000, "not a JSON file (nested too deeply)"),
        ('{"categories": [], "images": [' + "9" * 5000 + "]}", "not a JSON file (Exceeds the limit"),
        ("\xff", "not a JSON file ('utf-8' codec can't decode"),
    ],
)
def test_files_that_are_no_json(tmp_path: Path, text: str, sentence: str) -> None:
    root = write_coco(tmp_path / "coco", DOCUMENTED)
    (root / "annotations/instances_default.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        import_annotations(root, tmp_path / "mine", "coco")
    assert f"annotations/instances_default.json: {sentence}" in str(caught.value)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco", DOCUMENTED)
    with (root / "annotations/instances_default.json").open("r+b") as file:
        file.truncate((1 << 29) + 1)
    with pytest.raises(InputError, match=r"536870913 bytes, expected at most 536870912; split it up"):
        import_annotations(root, tmp_path / "mine", "coco")
