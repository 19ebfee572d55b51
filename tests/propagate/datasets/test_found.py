"""Which layout a folder has, found out by what lies in it."""

from pathlib import Path

import pytest

from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import found_dataset
from propagate.errors import DatasetError

PATTERNS = "frames: 'f/{frame}.png'\nlabels: 'l/{frame}.png'\nclasses: camvid\n"


def make(root: Path, *names: str) -> DatasetOptions:
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(PATTERNS if name == "layout.yaml" else "")
    return DatasetOptions(root=root)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["gtFine/train/", "leftImg8bit_sequence/"], "cityscapes"),
        (["gtFine_trainvaltest.zip"], "cityscapes"),
        (["gtFine/", "gtCoarse/"], "cityscapes"),
        (["gtCoarse.zip"], "cityscapes-coarse"),
        (["train/", "trainannot/"], "camvid"),
        (["data_semantics.zip"], "kitti"),
        (["training/semantic/"], "kitti"),
        (["training/v1.2/labels/"], "mapillary"),
        (["layout.yaml", "f/", "l/"], "folder"),
    ],
)
def test_the_layout_is_found(tmp_path: Path, names: list[str], expected: str) -> None:
    assert found_dataset(make(tmp_path, *names)) == expected


def test_a_layout_without_patterns_is_of_videos(tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text("classes: camvid\n")
    assert found_dataset(DatasetOptions(root=tmp_path)) == "video"


def test_a_layout_file_that_is_given_counts_before_what_lies_in_the_root(tmp_path: Path) -> None:
    make(tmp_path / "root", "gtFine/", "train/", "trainannot/")
    for text, expected in ((PATTERNS, "folder"), ("classes: camvid\n", "video")):
        layout = tmp_path / "mine.yaml"
        layout.write_text(text)
        assert found_dataset(DatasetOptions(root=tmp_path / "root", layout=layout)) == expected


def test_a_layout_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.yaml: the layout file cannot be read"):
        found_dataset(DatasetOptions(root=tmp_path, layout=tmp_path / "nowhere.yaml"))
    (tmp_path / "layout.yaml").write_text("classes: [")
    with pytest.raises(DatasetError, match=r"layout\.yaml: "):
        found_dataset(DatasetOptions(root=tmp_path))


def test_what_is_likely_counts_where_it_fits_or_is_not_ours(tmp_path: Path) -> None:
    options = make(tmp_path, "gtFine/", "trainannot/")
    assert found_dataset(options, likely="camvid") == "camvid"
    assert found_dataset(options, likely="flat") == "flat"
    with pytest.raises(DatasetError, match="looks like cityscapes and like camvid"):
        found_dataset(options, likely="kitti")


def test_none_and_several_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"no data set of a known layout; name its root with --root or PROPAGATE_ROOT"
    ):
        found_dataset(make(tmp_path, "pictures/", "annot/"))
    with pytest.raises(DatasetError, match=r"looks like cityscapes and like camvid; say which with --dataset"):
        found_dataset(make(tmp_path, "gtFine/", "valannot/"))
