"""KITTI's semantic benchmark: the split by scenes, and frames with and without neighbours."""

from collections.abc import Callable
from pathlib import Path

import pytest

from propagate.data.clip import Clip
from propagate.datasets.base import Dataset, DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.errors import DatasetError

Plant = Callable[..., Path]
KeysByOffset = Callable[[Clip], dict[int, str]]


def frame(scene: int, number: int = 10) -> str:
    return f"training/image_2/{scene:06d}_{number:02d}.png"


def label(scene: int, number: int = 10) -> str:
    return f"training/semantic/{scene:06d}_{number:02d}.png"


def scenes(numbers: range | list[int]) -> list[str]:
    return [name for number in numbers for name in (frame(number), label(number))]


def open_at(root: Path, split: str = "train") -> Dataset:
    return open_dataset("kitti", DatasetOptions(root=root, split=split))


@pytest.mark.parametrize("archive", [None, "data_semantics.zip"])
def test_a_scene_is_one_frame_with_the_label_ids_of_cityscapes(plant: Plant, archive: str | None) -> None:
    root = plant([*scenes([7]), "training/semantic_rgb/000007_10.png", "testing/image_2/000007_10.png"], archive)
    dataset = open_at(root)
    assert dataset.classes.name == "cityscapes"
    [clip] = dataset.clips(5)
    assert (clip.key, clip.split, clip.group) == ("000007_10", "train", "kitti")
    assert list(clip.frames) == [0]
    assert not clip.missing
    assert clip.frames[0].image.read().decode() == frame(7)
    assert clip.label.resource.read().decode() == label(7)


def test_the_split_is_by_number(plant: Plant) -> None:
    root = plant(scenes(range(200)))
    train, val = ({int(clip.key[:6]) for clip in open_at(root, split).clips(0)} for split in ("train", "val"))
    assert val == {*range(40, 50), *range(90, 100), *range(140, 150), *range(190, 200)}
    assert train == set(range(200)) - val
    with pytest.raises(DatasetError, match=r"no labels of a split 'test'; there are labels of: train, val$"):
        open_at(root, "test")


def test_frames_of_the_multi_view_extension_are_neighbours(plant: Plant, keys_by_offset: KeysByOffset) -> None:
    root = plant([*(frame(3, number) for number in (7, 9, 11, 12, 20)), *scenes([2, 3, 4])])
    alone, accompanied, _ = open_at(root).clips(5)
    assert list(alone.frames) == [0]
    assert keys_by_offset(accompanied) == {k: f"000003_{10 + k:02d}" for k in (-1, 0, 1, 2)}


def test_labels_are_found_by_key(plant: Plant) -> None:
    root = plant([*scenes([3]), frame(4)])
    assert list(open_at(root).labels(["000003_10", "000004_10"])) == ["000003_10"]


def test_a_label_without_its_frame_is_a_clip_that_fails(plant: Plant) -> None:
    root = plant([*scenes([3]), label(4)])
    _, lost = open_at(root).clips(0)
    assert lost.frames == {}
    assert lost.missing[0].startswith(f"{root}/{label(4)}: its frame 000004_10 is missing;")


@pytest.mark.parametrize(
    ("names", "split", "sentence"),
    [
        ([frame(1)], "train", r"no KITTI labels: neither training/semantic/ nor data_semantics\.zip is there"),
        (scenes([1]), "val", "frames without labels: training/semantic holds no label map of split 'val'"),
        (["training/semantic/1.png"], "train", r"holds no label map .* name like 000000_10\.png"),
        ([label(1)], "train", "labels without frames"),
    ],
)
def test_a_root_that_cannot_be_used_is_refused(plant: Plant, names: list[str], split: str, sentence: str) -> None:
    root = plant(names)
    with pytest.raises(DatasetError, match=f"^{root}.*{sentence}"):
        open_at(root, split).clips(0)


def test_options_of_other_layouts_are_refused(plant: Plant) -> None:
    root = plant(scenes([1]))
    with pytest.raises(DatasetError, match="the kitti layout takes no layout file"):
        open_dataset("kitti", DatasetOptions(root=root, layout=root / "layout.yaml"))
    with pytest.raises(DatasetError, match="the kitti layout takes no --max-gap, its frame numbers count every frame"):
        open_dataset("kitti", DatasetOptions(root=root, max_gap=2))
