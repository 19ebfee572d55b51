"""LabelMe's JSON files, as its examples have them."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from helpers.annotations import frames_of, grid, labels_of, write_frames
from helpers.mutations import of_size
from PIL import Image

from propagate.data.classes import load_classes
from propagate.errors import DatasetError, InputError
from propagate.formats.importing import import_annotations


def mask_text(rows: str, mode: str = "L") -> str:
    buffer = BytesIO()
    image = Image.fromarray(grid(rows, **{".": 0, "x": 255}))
    (image.convert("1") if mode == "1" else image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shape(label: str, kind: str, points: list[list[float]], **more: Any) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
    } | more


ROAD = shape("road", "polygon", [[0.0, 3.0], [8.0, 3.0], [8.0, 6.0], [0.0, 6.0]], mask=None)
CAR = shape("car", "rectangle", [[8.0, 6.0], [6.0, 1.0]])
SUN = shape("sun", "circle", [[2.0, 2.0], [2.0, 0.25]])
PERSON = shape("person", "mask", [[4.0, 2.0], [5.0, 4.0]], mask=mask_text("x. xx .x"))
VOID = shape("__ignore__", "polygon", [[0, 5], [2, 5], [2, 6], [0, 6]])
POINT = shape("car", "point", [[1.0, 1.0]])


def documented(*shapes: Any, **more: Any) -> dict[str, Any]:
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes) or [ROAD, CAR, SUN, PERSON, VOID, POINT],
        "imagePath": "drive_000001.png",
        "imageData": None,
        "imageHeight": 6,
        "imageWidth": 8,
    } | more


EXPECTED = grid(
    """
    .ss.....
    ssss..cc
    ssssp.cc
    rssrppcc
    rrrrrpcc
    ..rrrrcc
    """,
    **{".": 255, "c": 0, "p": 1, "r": 2, "s": 3},
)


def write_labelme(root: Path, content: Any) -> Path:
    write_frames(root, [f"drive_00000{n}.png" for n in (1, 2)])
    (root / "drive_000001.json").write_text(json.dumps(content))
    return root


def test_the_documented_form(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "labelme", documented())
    done = import_annotations(root, tmp_path / "mine", "labelme")
    assert (done.frames, done.labelled, done.sequences, done.classes) == (2, 1, 1, 4)
    assert done.passed_over == {"shapes of the kind point": 1}
    assert labels_of(tmp_path / "mine")["drive/000001"].tolist() == EXPECTED.tolist()
    names = [each.name for each in load_classes(tmp_path / "mine/classes.yaml").classes]
    assert names == ["car", "person", "road", "sun", "unlabelled"]


def test_labels_txt_gives_the_order(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "labelme", documented())
    (root / "labels.txt").write_text("__ignore__\n_background_\nroad\nsun\nperson\n\n")
    import_annotations(root, tmp_path / "mine", "labelme")
    names = [each.name for each in load_classes(tmp_path / "mine/classes.yaml").classes]
    assert names == ["_background_", "road", "sun", "person", "car", "unlabelled"]


@pytest.mark.parametrize("path", ["../images/a/drive_000001.png", "..\\images\\a\\drive_000001.png"])
def test_images_in_another_folder(tmp_path: Path, path: str) -> None:
    root = tmp_path / "labelme"
    write_frames(root, ["images/a/drive_000001.png", "images/a/drive_000002.png", "images/b/drive_000001.png"])
    (root / "json").mkdir()
    (root / "json/a.json").write_text(json.dumps(documented(imagePath=path)))
    import_annotations(root, tmp_path / "mine", "labelme")
    assert frames_of(tmp_path / "mine") == ["a_drive/000001.png", "a_drive/000002.png"]


def test_masks_of_one_bit_and_shapes_without_a_kind(tmp_path: Path) -> None:
    shapes = [
        {"label": "road", "points": [[0, 0], [8, 0], [8, 6], [0, 6]]},
        shape("person", "mask", [[4.0, 2.0], [5.0, 4.0]], mask=mask_text("x. xx .x", "1")),
    ]
    import_annotations(write_labelme(tmp_path / "labelme", documented(*shapes)), tmp_path / "mine", "labelme")
    (label,) = labels_of(tmp_path / "mine").values()
    assert label[2:5, 4:6].tolist() == [[0, 1], [0, 0], [1, 0]]
    assert (label == 1).sum() == 6 * 8 - 4


BOMB = base64.b64encode(of_size(40_000, 40_000)(base64.b64decode(mask_text("xx", "1")))).decode()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "the file is no object with fields"),
        (documented(imagePath="../../x_1.png"), "names the image '../../x_1.png', which leads out of"),
        (
            documented(imagePath="gone_1.png"),
            "1 of 1 annotated frames are not there as PNG or JPEG, such as 'gone_1.png'",
        ),
        (documented(imageHeight=8), "image drive_000001.png is annotated as 8x8, and its frame is 6x8"),
        (documented(imageHeight=None), "imageHeight is None, expected a whole number"),
        (documented(shapes=[POINT]), "no frame is annotated there with an area"),
        (documented(ROAD | {"label": ""}), "'' cannot be a class's name"),
        (documented(ROAD | {"label": 3}), "shapes[0]: label is 3, expected a text"),
        (documented(ROAD | {"points": [[0, 1], [2, 3]]}), "shapes[0]: a polygon of 4 coordinates, expected 3 points"),
        (documented(ROAD | {"points": [[0, 1], [2, 3], 4]}), "shapes[0]: a point is 4, expected a list of numbers"),
        (documented(ROAD | {"points": [[0, 1], [2], [4, 5]]}), "shapes[0]: a point of other than two coordinates"),
        (
            documented(ROAD | {"points": [[0, 1], [2, 9], [4, 5]]}),
            "a polygon with the point 2, 9, outside of an image of",
        ),
        (documented(CAR | {"points": [[0, 1], [2, 3], [4, 5]]}), "shapes[0]: a rectangle of 3 points, expected 2"),
        (documented(SUN | {"points": [[0, 1], [1e300, 3]]}), "a polygon with the point 1e+300, 1, outside of an image"),
        (documented(PERSON | {"mask": None}), "shapes[0]: the shape: mask is None, expected a text"),
        (documented(PERSON | {"mask": "x"}), "shapes[0]: "),
        (documented(PERSON | {"mask": "aGVsbG8="}), "shapes[0]: its mask: neither PNG nor JPEG"),
        (documented(PERSON | {"mask": mask_text("xx")}), "shapes[0]: a mask of 1x2 in a box of 3x2; draw it again"),
        (
            documented(PERSON | {"mask": BOMB}),
            "1600000000 pixels, expected at most",
        ),
        (documented(PERSON | {"points": [[7, 2], [8, 4]]}), "a mask up to row 4, column 8, outside of an image of 6x8"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, content: Any, sentence: str) -> None:
    root = write_labelme(tmp_path / "labelme", content)
    with pytest.raises((DatasetError, InputError)) as caught:
        import_annotations(root, tmp_path / "mine", "labelme")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(root))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labelme"]


def test_two_files_of_one_image(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "labelme", documented())
    (root / "again.json").write_text(json.dumps(documented()))
    with pytest.raises(DatasetError, match=r"drive_000001.json: annotates drive_000001.png twice"):
        import_annotations(root, tmp_path / "mine", "labelme")
