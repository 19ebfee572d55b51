"""Any layout, by the patterns of a YAML file."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from propagate.data.classes import load_classes
from propagate.data.clip import Clip
from propagate.datasets.base import DatasetOptions
from propagate.datasets.folder import Folder, load_layout
from propagate.errors import DatasetError

Plant = Callable[..., Path]
KeysByOffset = Callable[[Clip], dict[int, str]]
MINIMAL = """
frames: "images/{split}/{sequence}/{frame}.jpg"
labels: "labels/{split}/{sequence}/{frame}_mask.png"
classes: cityscapes
"""
TWO_CLASSES = """
  name: mine
  ignore_id: 1
  classes:
    - {id: 0, name: road, train_id: 0, color: [1, 2, 3]}
    - {id: 1, name: rest, train_id: 255, color: [0, 0, 0]}
"""


@pytest.fixture
def open_folder(tmp_path: Path) -> Callable[..., Folder]:
    """A data set at tmp_path, read with a layout file outside of it."""
    layout = tmp_path.parent / f"{tmp_path.name}-layout.yaml"

    def make(text: str = MINIMAL, split: str = "train", max_gap: int | None = None) -> Folder:
        layout.write_text(text)
        return Folder(DatasetOptions(root=tmp_path, split=split, layout=layout, max_gap=max_gap))

    return make


OpenFolder = Callable[..., Folder]


def patterns(frames: str, labels: str) -> str:
    return f"frames: '{frames}'\nlabels: '{labels}'\nclasses: camvid\n"


@pytest.mark.parametrize("archive", [None, "everything.zip"])
def test_a_minimal_layout(
    plant: Plant, open_folder: OpenFolder, keys_by_offset: KeysByOffset, archive: str | None
) -> None:
    names = [f"images/train/drive1/{n}.jpg" for n in range(9, 13)] + ["labels/train/drive1/10_mask.png"]
    plant([*names, "images/val/drive1/3.jpg", "labels/val/drive1/3_mask.png", "labels/train/drive1/readme"], archive)
    dataset = open_folder()
    [clip] = dataset.clips(5)
    assert (clip.key, clip.group, clip.split) == ("drive1_10", "drive1", "train")
    assert keys_by_offset(clip) == {-1: "drive1_9", 0: "drive1_10", 1: "drive1_11", 2: "drive1_12"}
    assert clip.label.resource.read() == b"labels/train/drive1/10_mask.png"
    assert dataset.classes == load_classes("cityscapes")
    assert list(dataset.labels(["drive1_10", "drive1_11"])) == ["drive1_10"]


@pytest.mark.parametrize(
    ("frames", "labels", "frame", "label", "key"),
    [
        ("{frame}.png", "{frame}_gt.png", "{:04d}.png", "{:04d}_gt.png", "0010"),
        ("f/*{frame}.png", "l/*{frame}.png", "f/img_{:04d}.png", "l/map_{:04d}.png", "0010"),
        ("f/{sequence}_{frame}_*.png", "l/{sequence}_{frame}.png", "f/a_1_{:03d}_x.png", "l/a_1_{:03d}.png", "a_1_010"),
        ("f/{sequence}/{sequence}_{frame}.png", "l/{sequence}_{frame}.png", "f/a/a_{:d}.png", "l/a_{:d}.png", "a_10"),
        ("*/f/{sequence}.{frame}.png", "*/l/{sequence}.{frame}.png", "x/f/q.{:d}.png", "x/l/q.{:d}.png", "q_10"),
        ("f/{frame}.png", "l/{frame}.png", "f/{:05d}.png", "l/{:d}.png", "00010"),
        ("f/{sequence}{frame}.png", "l/{sequence}{frame}*.png", "f/a_{:04d}.png", "l/a_{:04d}_m.png", "a__0010"),
    ],
)
def test_patterns_find_frames_and_their_labels(
    plant: Plant, open_folder: OpenFolder, frames: str, labels: str, frame: str, label: str, key: str
) -> None:
    plant([*(frame.format(n) for n in range(8, 13)), label.format(10)])
    dataset = open_folder(patterns(frames, labels))
    [clip] = dataset.clips(2)
    assert clip.key == key
    assert [f.image.name for f in clip.frames.values()] == [frame.format(n) for n in range(8, 13)]
    assert list(dataset.labels([key])) == [key]


def test_sequences_are_kept_apart(plant: Plant, open_folder: OpenFolder) -> None:
    plant([f"images/train/{s}/{n}.jpg" for s in ("a", "b") for n in (1, 2)] + ["labels/train/b/1_mask.png"])
    [clip] = open_folder().clips(5)
    assert [frame.key for frame in clip.frames.values()] == ["b_1", "b_2"]


def test_gaps_end_clips_as_for_camvid(plant: Plant, open_folder: OpenFolder) -> None:
    plant([*(f"images/train/a/{n}.jpg" for n in (0, 30, 60)), "labels/train/a/30_mask.png"])
    with pytest.raises(DatasetError, match=r"sequence 'a' are at least 30 numbers apart.*--max-gap 30"):
        open_folder().clips(1)
    [clip] = open_folder(max_gap=30).clips(1)
    assert list(clip.frames) == [-1, 0, 1]


def test_only_the_folders_of_the_layout_are_listed(
    plant: Plant, open_folder: OpenFolder, listed_folders: list[str]
) -> None:
    root = plant(["images/train/a/1.jpg", "labels/train/a/1_mask.png", "images/val/a/1.jpg", "huge/x/y.png"])
    open_folder().clips(1)
    assert not [f for f in listed_folders if f.startswith((f"{root}/huge", f"{root}/images/val"))]


def test_unsafe_characters_leave_keys_and_groups_safe(plant: Plant, open_folder: OpenFolder) -> None:
    plant(["f/x..#1.png", "f/xmy drive ü#1.png", "l/x..#1.png", "l/xmy drive ü#1.png"])
    clips = open_folder(patterns("f/x{sequence}#{frame}.png", "l/x{sequence}#{frame}.png")).clips(0)
    assert [(clip.key, clip.group) for clip in clips] == [("-._1", "-."), ("my-drive-ü_1", "my-drive-ü")]


def test_names_of_any_script_stay_apart(plant: Plant, open_folder: OpenFolder) -> None:
    names = ["日本", "中国", "हिन्दी", "हुन्दी", "Nguye\u0302\u0303n", "\u202eabc", "a b", "Seq05VD.x-y_z"]
    plant([f"{folder}/{name}/1.png" for folder in "fl" for name in names])
    clips = open_folder(patterns("f/{sequence}/{frame}.png", "l/{sequence}/{frame}.png")).clips(0)
    expected = {"日本", "中国", "हिन्दी", "हुन्दी", "Nguy\u1ec5n", "-abc", "a-b", "Seq05VD.x-y_z"}
    assert {clip.group for clip in clips} == expected
    assert {clip.key for clip in clips} == {f"{name}_1" for name in expected}


@pytest.mark.parametrize(
    "names",
    [("f/a b_1.png", "f/a-b_1.png"), ("f/a_1.png", "f/a_01.png")],
)
def test_two_files_for_one_key_are_refused_by_name(
    plant: Plant, open_folder: OpenFolder, names: tuple[str, ...]
) -> None:
    plant([*names, "l/a_1.png"])
    with pytest.raises(DatasetError, match="names the same frame") as error:
        open_folder(patterns("f/{sequence}_{frame}.png", "l/{sequence}_{frame}.png")).clips(1)
    assert all(name in str(error.value) for name in names)


def test_classes_can_be_a_file_beside_the_layout_or_a_table(plant: Plant, tmp_path: Path) -> None:
    root = plant(["conf/mine.yaml", "conf/layout.yaml"])
    (root / "conf/mine.yaml").write_text(TWO_CLASSES)
    head = "frames: 'f/{frame}.png'\nlabels: 'l/{frame}.png'\nlabels_hold: train_ids\nclasses: "
    for value in ("mine.yaml", TWO_CLASSES):
        (root / "conf/layout.yaml").write_text(head + value)
        layout = load_layout(tmp_path / "conf/layout.yaml")
        assert layout.classes.name == "mine"
        assert layout.labels_hold == "train_ids"


def test_labels_may_hold_train_ids(plant: Plant, open_folder: OpenFolder) -> None:
    plant(["images/train/a/1.jpg", "labels/train/a/1_mask.png"])
    assert open_folder(MINIMAL + "labels_hold: train_ids").clips(0)[0].label.holds == "train_ids"
    assert open_folder(MINIMAL + "labels_hold: label_ids").clips(0)[0].label.holds == "label_ids"
    assert open_folder(MINIMAL + "labels_hold: colors").clips(0)[0].label.holds == "colors"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("frames: [", "not a YAML file"),
        ("just text", "expected fields, one a line: frames, labels, classes, labels_hold"),
        (MINIMAL + "masks: x", "unknown field masks; a layout has frames, labels, classes, labels_hold"),
        ("frames: '{frame}.png'", "lacks labels, classes"),
        (patterns("/data/{frame}.png", "{frame}.png"), "frames is '/data/{frame}.png', expected a path below the root"),
        (patterns("{frame}.png", "../{frame}.png"), "labels is '../{frame}.png', expected a path below"),
        (
            patterns("f/{number}.png", "{frame}.png"),
            "frames: unknown placeholder in 'f/{number}.png'; there are {split}",
        ),
        (patterns("f/{frame.png", "{frame}.png"), "frames: unknown placeholder"),
        (patterns("f/x.png", "{frame}.png"), "frames: 'f/x.png' needs {frame}"),
        (patterns("{sequence}/{frame}.png", "{frame}.png"), "frames and labels must have the same placeholders"),
        ("frames: 3\nlabels: x\nclasses: camvid", "frames is 3, expected a path"),
        (MINIMAL + "labels_hold: ids", "labels_hold is 'ids', expected label_ids, train_ids or colors"),
        (MINIMAL.replace("cityscapes", "3"), "classes is 3, expected a table's name"),
        (MINIMAL.replace("cityscapes", "gone.yaml"), "gone.yaml: no such class table"),
        (MINIMAL.replace("cityscapes", "{name: x}"), "classes: lacks 'ignore_id'; a class table needs"),
    ],
)
def test_a_layout_file_that_cannot_be_used_is_refused(open_folder: OpenFolder, text: str, sentence: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(sentence)) as error:
        open_folder(text)
    assert str(error.value).startswith("/")


def test_the_layout_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--dataset folder needs --layout FILE"):
        Folder(DatasetOptions(root=tmp_path))
    with pytest.raises(DatasetError, match=r"gone\.yaml: the layout file cannot be read \(No such file"):
        Folder(DatasetOptions(root=tmp_path, layout=tmp_path / "gone.yaml"))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["images/train/a/1.jpg"], "frames without labels: no file fits 'labels/{split}/{sequence}/{frame}_mask.png'"),
        (
            ["labels/val/a/1_mask.png", "labels/test/a/1_mask.png"],
            "no labels of a split 'train'; there are labels of: test, val",
        ),
        (["labels/train/a/1_mask.png"], "labels without frames: no file fits 'images/{split}/{sequence}/{frame}.jpg'"),
        (
            ["labels/train/a/1_mask.png", "images/train/a/2.jpg"],
            "labels without frames: split 'train' has 1 label maps",
        ),
    ],
)
def test_a_root_that_cannot_be_used_is_refused(
    plant: Plant, open_folder: OpenFolder, names: list[str], sentence: str
) -> None:
    root = plant(names)
    with pytest.raises(DatasetError, match=re.escape(f"{root}: {sentence}")):
        open_folder().clips(1)
