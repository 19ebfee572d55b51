"""The CamVid layout: sequences by name, offsets by count, gaps."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from propagate.data.clip import Clip
from propagate.datasets.base import DatasetOptions
from propagate.datasets.camvid import CamVid
from propagate.errors import DatasetError

Plant = Callable[..., Path]
KeysByOffset = Callable[[Clip], dict[int, str]]
DATA = Path(os.environ.get("PROPAGATE_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))


def camvid(frames: list[str], labels: list[str]) -> list[str]:
    return [f"train/{name}.png" for name in frames] + [f"trainannot/{name}.png" for name in labels]


def sequence(numbers: list[int] | range, name: str = "0016E5_{:05d}") -> list[str]:
    return [name.format(number) for number in numbers]


def open_at(root: Path, split: str = "train", max_gap: int | None = None) -> CamVid:
    return CamVid(DatasetOptions(root=root, split=split, max_gap=max_gap))


@pytest.mark.parametrize("archive", [None, "CamVid.zip"])
@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("0016E5_{:05d}", "0016E5"),
        ("0001TP_{:06d}", "0001TP"),
        ("Seq05VD_f{:05d}", "Seq05VD"),
        ("my_drive_{:d}", "my_drive"),
        ("frame{:04d}", "frame"),
        ("{:04d}", "train"),
    ],
)
def test_a_name_is_a_sequence_and_a_number(
    plant: Plant, keys_by_offset: KeysByOffset, name: str, group: str, archive: str | None
) -> None:
    root = plant(camvid(sequence(range(8, 13), name), [name.format(10)]), archive)
    [clip] = open_at(root).clips(1)
    assert (clip.key, clip.group, clip.split) == (name.format(10), group, "train")
    assert keys_by_offset(clip) == {k: name.format(10 + k) for k in (-1, 0, 1)}
    assert clip.label.resource.read().decode() == f"trainannot/{name.format(10)}.png"


def test_offsets_count_frames(plant: Plant, keys_by_offset: KeysByOffset) -> None:
    root = plant(camvid(sequence(range(7959, 7979, 2)), sequence([7967])))
    [clip] = open_at(root).clips(2)
    assert keys_by_offset(clip) == {k: f"0016E5_{7967 + 2 * k:05d}" for k in range(-2, 3)}


def test_a_larger_step_ends_the_clip_and_nothing_is_missing(plant: Plant) -> None:
    root = plant(camvid(sequence([1, 2, 4, 5, 6, 7, 10, 11]), sequence([6])))
    [clip] = open_at(root).clips(5)
    assert list(clip.frames) == [-2, -1, 0, 1]
    assert not clip.missing
    [clip] = open_at(root, max_gap=2).clips(5)
    assert list(clip.frames) == [-4, -3, -2, -1, 0, 1]
    [clip] = open_at(root, max_gap=3).clips(5)
    assert list(clip.frames) == [-4, -3, -2, -1, 0, 1, 2, 3]


def test_each_sequence_has_its_own_step(plant: Plant) -> None:
    names = [*sequence([0, 10, 20], "a_{:02d}"), *sequence([0, 1, 3], "b_{:02d}")]
    root = plant(camvid(names, ["a_10", "b_01"]))
    assert [list(clip.frames) for clip in open_at(root).clips(5)] == [[-1, 0, 1], [-1, 0]]


def test_frames_too_far_apart_are_refused_unless_allowed(plant: Plant) -> None:
    root = plant(camvid(sequence([930, 960, 990], "0006R0_f{:05d}"), ["0006R0_f00960"]))
    with pytest.raises(
        DatasetError,
        match=rf"^{root}: the frames of sequence '0006R0' are at least 30 numbers apart, .*more than 10.*--max-gap 30",
    ):
        open_at(root).clips(5)
    [clip] = open_at(root, max_gap=30).clips(5)
    assert list(clip.frames) == [-1, 0, 1]
    [clip] = open_at(root).clips(0)
    assert list(clip.frames) == [0]


def test_a_step_of_ten_is_near_enough(plant: Plant) -> None:
    root = plant(camvid(sequence([0, 10, 20]), sequence([10])))
    assert len(open_at(root).clips(1)[0].frames) == 3


def test_a_lonely_frame_is_a_clip(plant: Plant) -> None:
    root = plant(camvid(sequence([7]), sequence([7])))
    assert [list(clip.frames) for clip in open_at(root).clips(5)] == [[0]]


def test_a_label_without_its_frame_is_a_clip_that_fails(plant: Plant) -> None:
    root = plant(camvid(sequence([1, 2, 4]), [*sequence([2, 3]), "other_1"]))
    _, lost, alone = open_at(root).clips(1)
    assert lost.frames == alone.frames == {}
    assert lost.missing[0].startswith(f"{root}/trainannot/0016E5_00003.png: its frame 0016E5_00003 is missing;")


def test_labels_are_found_by_key(plant: Plant) -> None:
    root = plant(camvid([], sequence([2, 3])))
    assert list(open_at(root).labels(sequence([1, 2]))) == ["0016E5_00002"]


def test_two_names_for_one_frame_are_refused(plant: Plant) -> None:
    root = plant(camvid(["a_1", "a_01"], ["a_1"]))
    with pytest.raises(DatasetError, match=r"/train/a_1\.png: names the same frame \(a_1\) as .*/train/a_01\.png"):
        open_at(root).clips(1)


@pytest.mark.parametrize(
    ("names", "split", "sentence"),
    [
        (["train/a_1.png"], "train", "no CamVid labels: expected folders <split>/ and <split>annot/"),
        (camvid(["a_1"], ["a_1"]), "val", "no labels of a split 'val'; there are labels of: train$"),
        (["train/a_1.png", "trainannot/readme.txt"], "train", r"/trainannot: frames without labels: no \*\.png here"),
        (["trainannot/a_1.png"], "train", "labels without frames: split 'train' has 1 label maps, .* such as a_1 for"),
        (["trainannot/map.png"], "train", r"/trainannot/map\.png: the name must end in the frame's number"),
    ],
)
def test_a_root_that_cannot_be_used_is_refused(plant: Plant, names: list[str], split: str, sentence: str) -> None:
    root = plant(names)
    with pytest.raises(DatasetError, match=f"^{root}.*{sentence}"):
        open_at(root, split).clips(5)


def test_a_layout_file_is_refused(plant: Plant) -> None:
    root = plant(camvid(["a_1"], ["a_1"]))
    with pytest.raises(DatasetError, match="the camvid layout takes no layout file"):
        CamVid(DatasetOptions(root=root, layout=Path("layout.yaml")))


def test_the_15_hz_sequence_is_read_as_it_is() -> None:
    root = DATA / "camvid_15hz"
    if not root.is_dir():
        pytest.skip(f"needs {root}")
    clips = open_at(root, split="clip").clips(5)
    assert clips == open_at(root, split="clip", max_gap=2).clips(5)
    assert [len(clip.frames) for clip in clips] == [10, *[11] * 7, 10]


def test_train_and_val_are_one_split_too(plant: Plant, keys_by_offset: KeysByOffset) -> None:
    """A drive of both goes on from one folder to the other; a frame that lies in both is one."""
    val = ["val/0016E5_00004.png", "val/0016E5_00005.png", "valannot/0016E5_00004.png"]
    root = plant([*camvid(sequence(range(1, 5)), sequence([2])), *val, "val/7.png", "valannot/7.png"])
    clips = open_at(root, "trainval").clips(2)
    assert [(clip.key, clip.group, clip.split) for clip in clips] == [
        ("0016E5_00002", "0016E5", "trainval"),
        ("0016E5_00004", "0016E5", "trainval"),
        ("7", "val", "trainval"),
    ]
    assert keys_by_offset(clips[1]) == {k: f"0016E5_{4 + k:05d}" for k in (-2, -1, 0, 1)}
    assert len(open_at(root).clips(0)) == 1
    with pytest.raises(DatasetError, match="no labels of a split 'test'; there are labels of: train, val, trainval"):
        open_at(root, "test")


def test_a_folder_of_that_name_is_the_split(plant: Plant) -> None:
    root = plant([f"{split}{kind}/1.png" for split in ("train", "val", "trainval") for kind in ("", "annot")])
    assert [clip.group for clip in open_at(root, "trainval").clips(0)] == ["trainval"]


def test_without_val_there_is_no_such_split(plant: Plant) -> None:
    with pytest.raises(DatasetError, match="no labels of a split 'trainval'; there are labels of: train"):
        open_at(plant(camvid(["1"], ["1"])), "trainval")
