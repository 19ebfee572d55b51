"""COCO panoptic as cocodataset.org documents it: PNGs of segment ids, and a JSON file beside their folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.annotations import grid, labels_of, write_frames
from PIL import Image

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.errors import DatasetError, InputError
from propagate.formats.importing import import_annotations

SEGMENTS = {"r": (1, 0, 0), "p": (0, 1, 0), "q": (10, 20, 30), "c": (255, 255, 255), ".": (0, 0, 0)}
DRAWN = """
    .....qcc
    ......cc
    .ppp..cc
    rppprrcc
    rppprrcc
    rrrrrrcc
"""
EXPECTED = grid(DRAWN, **{".": 255, "r": 0, "p": 1, "q": 1, "c": 2})


def documented() -> dict[str, Any]:
    numbers = {name: red + 256 * green + 65536 * blue for name, (red, green, blue) in SEGMENTS.items()}
    categories = {"r": 149, "p": 1, "q": 1, "c": 3}
    segments = [
        {"id": numbers[name], "category_id": category, "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0}
        for name, category in categories.items()
    ]
    return {
        "images": [{"id": 7, "width": 8, "height": 6, "file_name": "000000000139.jpg"}],
        "annotations": [{"image_id": 7, "file_name": "000000000139.png", "segments_info": segments}],
        "categories": [
            {"id": 149, "name": "road", "supercategory": "ground", "isthing": 0, "color": [128, 64, 128]},
            {"id": 1, "name": "person", "supercategory": "person", "isthing": 1, "color": [220, 20, 60]},
            {"id": 3, "name": "car", "supercategory": "vehicle", "isthing": 1, "color": "blue"},
        ],
    }


def write_panoptic(root: Path, content: dict[str, Any]) -> Path:
    write_frames(root, ["val2017/000000000139.jpg", "val2017/000000000140.jpg"])
    folder = root / "annotations/panoptic_val2017"
    folder.mkdir(parents=True)
    pixels = np.array([[SEGMENTS[letter] for letter in line] for line in DRAWN.split()], np.uint8)
    (folder / "000000000139.png").write_bytes(encode_png(pixels))
    (root / "annotations/panoptic_val2017.json").write_text(json.dumps(content))
    (root / "annotations/instances_val2017.json").write_text("{}")
    return root


def test_the_documented_form(tmp_path: Path) -> None:
    root = write_panoptic(tmp_path / "coco", documented())
    done = import_annotations(root, tmp_path / "mine", "coco-panoptic")
    assert (done.frames, done.labelled, done.sequences, done.classes) == (2, 1, 1, 3)
    assert np.array_equal(labels_of(tmp_path / "mine")["val2017/000000000139"], EXPECTED)
    classes = load_classes(tmp_path / "mine/classes.yaml").classes
    assert [(c.name, c.color) for c in classes][:2] == [("road", (128, 64, 128)), ("person", (220, 20, 60))]


def without_segment(content: dict[str, Any]) -> None:
    content["annotations"][0]["segments_info"].pop()


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = content
        for part in parts:
            place = place[part]
        place[last] = value

    return change


INFO = "annotations.0.segments_info.0"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            without_segment,
            "12 pixels of segments that segments_info does not have, the first at row 0, column 6, segment 1",
        ),
        (put(f"{INFO}.id", 0), "segments_info[0]: id is 0, expected 1 to 16777215, each once"),
        (put(f"{INFO}.id", 1 << 70), "segments_info[0]: id is 1180591620717411303424, expected 1 to 16777215"),
        (put(f"{INFO}.id", 256), "segments_info[1]: id is 256, expected 1 to 16777215, each once"),
        (put(f"{INFO}.category_id", 5), "segments_info[0]: category_id is 5, and no category has that id"),
        (put("annotations.0.file_name", "gone.png"), "annotations[0]: its PNG of segments, 'gone.png', is not there"),
        (put("annotations.0.file_name", "../../../x.png"), "which leads out of"),
        (put("annotations.0.image_id", 8), "annotations[0]: image_id is 8, and no image has that id"),
        (put("images.0.width", 9), "image 000000000139.jpg is annotated as 6x9, and its frame is 6x8"),
        (put("images.0.file_name", "000000000141.jpg"), "1 of 1 annotated frames are not there as PNG or JPEG"),
        (put("annotations", [{}] * 2), "annotations[0]: image_id is missing, expected a whole number"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, change: Any, sentence: str) -> None:
    content = documented()
    change(content)
    root = write_panoptic(tmp_path / "coco", content)
    with pytest.raises((DatasetError, InputError)) as caught:
        import_annotations(root, tmp_path / "mine", "coco-panoptic")
    assert sentence in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco"]


@pytest.mark.parametrize(
    ("array", "form", "sentence"),
    [
        (np.zeros((5, 8, 3), np.uint8), "PNG", "segments of 5x8 for a frame of 6x8"),
        (np.zeros((6, 8), np.uint8), "PNG", "8-bit grey PNG frame, expected 8-bit RGB"),
        (np.zeros((6, 8, 3), np.uint8), "JPEG", "segments as JPEG, whose compression alters ids"),
    ],
)
def test_maps_that_are_none(tmp_path: Path, array: np.ndarray, form: str, sentence: str) -> None:
    root = write_panoptic(tmp_path / "coco", documented())
    path = root / "annotations/panoptic_val2017/000000000139.png"
    Image.fromarray(array).save(path, form)
    with pytest.raises(InputError) as caught:
        import_annotations(root, tmp_path / "mine", "coco-panoptic")
    assert str(caught.value).startswith(f"{path}: {sentence}")
