from pathlib import Path

import pytest

from propagate.errors import DatasetError
from propagate.scoring.truth import truth_directory


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"some bytes")
    return path


def test_labels_are_found_by_key_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path / "train/aachen/a_000001_gtFine_labelIds.png")
    touch(tmp_path / "b_000002.png")
    found = truth_directory(tmp_path)(["a_000001", "b_000002", "c_000003"])
    assert sorted(found) == ["a_000001", "b_000002"]
    resource = found["a_000001"].resource
    assert resource.name == "train/aachen/a_000001_gtFine_labelIds.png"
    assert (resource.size, resource.read()) == (10, b"some bytes")


def test_label_ids_go_before_train_ids_and_both_before_a_bare_key(tmp_path: Path) -> None:
    touch(tmp_path / "frames/a.png")
    assert truth_directory(tmp_path)(["a"])["a"].resource.name == "frames/a.png"
    touch(tmp_path / "gt/a_gtFine_labelTrainIds.png")
    assert truth_directory(tmp_path)(["a"])["a"].holds == "train_ids"
    touch(tmp_path / "gt/a_gtFine_labelIds.png")
    label = truth_directory(tmp_path)(["a"])["a"]
    assert (label.resource.name, label.holds) == ("gt/a_gtFine_labelIds.png", "label_ids")


def test_a_key_that_holds_folders_is_searched_with_them(tmp_path: Path) -> None:
    touch(tmp_path / "x/left/000001.png")
    touch(tmp_path / "x/right/000001.png")
    assert truth_directory(tmp_path)(["right/000001"])["right/000001"].resource.name == "x/right/000001.png"


def test_two_truths_for_one_key_are_refused_by_name(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "clip/a.png"), touch(tmp_path / "truth/a.png")
    with pytest.raises(DatasetError, match=r"two truths for a: .*give --truth a directory") as error:
        truth_directory(tmp_path)(["a"])
    assert str(one) in str(error.value)
    assert str(two) in str(error.value)


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such directory; --truth takes the directory"):
        truth_directory(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"a\.png: not a directory"):
        truth_directory(touch(tmp_path / "a.png"))
