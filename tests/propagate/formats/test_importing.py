"""What holds for every format: names and numbers, neighbours, destinations, classes, and nothing half written."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.annotations import frames_of, labels_of, leftovers, write_frames
from PIL import Image

from propagate.data.classes import ClassTable
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.errors import DatasetError, InputError
from propagate.formats.importing import import_annotations
from propagate.formats.naming import place_of
from propagate.formats.source import Source


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("drive_000120.png", ("drive", "000120")),
        ("images/drive/frame_000120.jpg", ("drive_frame", "000120")),
        ("VOC2012/JPEGImages/2007_000032.jpg", ("VOC2012_2007", "000032")),
        ("aachen_000000_000019.png", ("aachen_000000", "000019")),
        ("0016E5_07959.png", ("0016E5", "07959")),
        ("drive-12.png", ("drive", "12")),
        ("img7.png", ("img", "7")),
        ("a/b/7.png", ("a_b", "7")),
        ("images/000012.png", ("frames", "000012")),
        ("Straße 3/日本_1.png", ("Straße-3_日本", "1")),
        ("..7.png", ("frames", "7")),
        ("drive_000120_leftImg8bit.png", None),
        ("picture.png", None),
        ("x٣.png", None),
    ],
)
def test_a_path_says_sequence_and_number(path: str, place: tuple[str, str] | None) -> None:
    assert place_of(path) == place


def write_voc(root: Path, labelled: list[str], frames: list[str]) -> Path:
    """Frames below JPEGImages, and label maps of `background` alone."""
    write_frames(root / "JPEGImages", frames)
    for name in labelled:
        path = root / "SegmentationClass" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 6)).save(path, "PNG")
    return root


def test_frames_beside_the_annotated_ones_are_neighbours(tmp_path: Path) -> None:
    root = write_voc(
        tmp_path / "voc", ["a/f_2.png"], [*(f"a/f_{n}.png" for n in (1, 2, 3)), "a/thumb.png", "b/f_1.png"]
    )
    (root / "JPEGImages/a/.hidden_4.png").write_bytes((root / "JPEGImages/a/f_1.png").read_bytes())
    done = import_annotations(root, tmp_path / "new/mine", "voc")
    assert done.passed_over == {"images whose names end in no number": 1}
    assert frames_of(tmp_path / "new/mine") == ["a_f/1.png", "a_f/2.png", "a_f/3.png"]
    [clip] = open_dataset("folder", DatasetOptions(root=tmp_path / "new/mine")).clips(2)
    assert {offset: frame.key for offset, frame in clip.frames.items()} == {-1: "a_f_1", 0: "a_f_2", 1: "a_f_3"}


@pytest.mark.parametrize(
    ("labelled", "frames", "sentence"),
    [
        (["a.png"], ["a.png"], "JPEGImages/a.png: its name does not end in the frame's number, as drive"),
        (["f_1.png"], ["f_1.png", "f_01.png"], "JPEGImages/f_1.png: is frame 1 of sequence f, as .*f_01.png is"),
        (["a/f_1.png", "a_f_1.png"], ["a/f_1.png", "a_f_1.png"], "f_1.png: is frame 1 of sequence a_f, as .*a/f_1.png"),
        (["f_1.png"], ["x/f_1.png", "y/f_1.png"], "the image f_1, which could be JPEGImages/x/f_1.png, JPEGI"),
        (["f_1.png"], ["f_1.png", "f_1.jpg"], "the image f_1, which could be JPEGImages/f_1.jpg, JPEGImages/f"),
        (["f_1.png", "f_2.png"], ["f_2.png"], "1 of 2 annotated frames are not there as PNG or JPEG, such as 'f_1'"),
        ([], ["f_2.png"], "0 folders SegmentationClass here"),
    ],
)  # fmt: skip
def test_names_that_make_no_sense(tmp_path: Path, labelled: list[str], frames: list[str], sentence: str) -> None:
    root = write_voc(tmp_path / "voc", labelled, frames)
    with pytest.raises((DatasetError, InputError), match=sentence) as caught:
        import_annotations(root, tmp_path / "mine", "voc")
    assert str(caught.value).startswith(str(root))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voc"]


def test_the_destination_must_be_new_or_empty(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", ["f_1.png"], ["f_1.png"])
    (tmp_path / "file").write_text("here")
    with pytest.raises(DatasetError, match="file: is a file; give a new folder to import into"):
        import_annotations(root, tmp_path / "file", "voc")
    with pytest.raises(DatasetError, match="voc: already holds files; remove it, or give another folder"):
        import_annotations(root, root, "voc")
    with pytest.raises(DatasetError, match=r"\.\.: is no name of a new folder"):
        import_annotations(root, tmp_path / "mine" / "..", "voc")
    with pytest.raises(
        DatasetError, match=r"cannot be written \(Not a directory\); give a new folder where there is room"
    ):
        import_annotations(root, tmp_path / "file" / "mine", "voc")
    (tmp_path / "mine").mkdir()
    import_annotations(root, tmp_path / "mine", "voc")
    assert list(labels_of(tmp_path / "mine")) == ["f/1"]


def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_voc(tmp_path / "voc", ["f_1.png", "f_2.png"], ["f_1.png", "f_2.png"])
    (root / "JPEGImages/f_2.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"f_2.png: neither PNG nor JPEG"):
        import_annotations(root, tmp_path / "mine", "voc")
    assert not (tmp_path / "mine").exists()
    assert leftovers(tmp_path) == []
    heard: list[int] = []

    def interrupt(_: int) -> None:
        heard.append(len(leftovers(tmp_path)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_annotations(root, tmp_path / "mine", "voc", on_progress=interrupt)
    assert heard == [1]
    assert leftovers(tmp_path) == []
    monkeypatch.setattr("propagate.formats.source.MOST_FILES", 3)
    with pytest.raises(DatasetError, match="more than 3 files, or folders more than 24 deep; name the folder"):
        import_annotations(root, tmp_path / "mine", "voc")


def test_folders_in_a_circle(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", ["f_1.png"], ["f_1.png"])
    (root / "again").symlink_to(root)
    with pytest.raises(DatasetError, match="folders more than 24 deep"):
        import_annotations(root, tmp_path / "mine", "voc")


def test_a_zip_file_is_read_as_its_folder(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", ["f_2.png"], ["f_1.png", "f_2.jpg", "f_3.png"])
    archive = tmp_path / "voc.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(root.rglob("*.*")):
            file.write(path, path.relative_to(root))
    for source, name in ((root, "a"), (archive, "b")):
        import_annotations(source, tmp_path / name, "voc")
    files = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    assert len(files) == 6
    assert files == {path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*.*")}


def test_too_many_classes_for_label_ids(tmp_path: Path) -> None:
    root = write_frames(tmp_path / "coco", ["f_1.png"])
    content = {
        "images": [{"id": 1, "height": 6, "width": 8, "file_name": "f_1.png"}],
        "categories": [{"id": n, "name": f"c{n}"} for n in range(300)],
        "annotations": [{"image_id": 1, "category_id": 299, "segmentation": {"size": [6, 8], "counts": [0, 48]}}],
    }
    (root / "all.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match="declares 300 classes, expected 1 to 255; give a table of those that count with"
    ):
        import_annotations(root, tmp_path / "mine", "coco")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        Source(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"^no annotation format 'covat'; known are .*; did you mean 'cvat'\?$"):
        import_annotations(tmp_path, tmp_path / "mine", "covat")


def test_what_is_declared_and_not_used_needs_no_class(tmp_path: Path) -> None:
    """VOC declares 21 classes; the table has one of them."""
    classes = [
        {"id": 4, "name": "background", "train_id": 0, "color": [0, 0, 0]},
        {"id": 9, "name": "x", "train_id": 255, "color": [0, 0, 0]},
    ]
    table = ClassTable.from_json({"name": "one", "ignore_id": 9, "classes": classes})
    import_annotations(write_voc(tmp_path / "voc", ["f_1.png"], ["f_1.png"]), tmp_path / "mine", "voc", table)
    assert np.unique(labels_of(tmp_path / "mine")["f/1"]).tolist() == [4]
