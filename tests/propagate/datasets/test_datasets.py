"""The registry of layouts, and the options that they share."""

from pathlib import Path

import pytest

from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import DATASETS, found_dataset, open_dataset
from propagate.errors import DatasetError


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "folder"])
def test_every_layout_refuses_a_root_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"^{tmp_path}/gone: no such folder"):
        open_dataset(name, DatasetOptions(root=tmp_path / "gone"))


def test_an_unknown_layout_is_refused_with_those_known() -> None:
    known = f"no data set layout 'kitty'; known are {', '.join(DATASETS)}"
    with pytest.raises(DatasetError, match=rf"^{known}; did you mean 'kitti'\?$"):
        open_dataset("kitty", DatasetOptions(root=Path()))


@pytest.mark.parametrize(("lines", "name"), [("frame: x\nlabels: y", "folder"), ("classes: camvid", "video")])
def test_a_layout_file_of_which_a_pattern_is_misspelt_is_one_of_folders(tmp_path: Path, lines: str, name: str) -> None:
    (tmp_path / "layout.yaml").write_text(lines)
    assert found_dataset(DatasetOptions(root=tmp_path)) == name


def test_a_gap_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="max_gap is 0, expected 1 or more"):
        DatasetOptions(root=Path(), max_gap=0)
