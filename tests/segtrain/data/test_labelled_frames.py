"""Annotated frames as they lie in a data set: pairs that do not fit, and other classes for their label ids."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.classes import merged_classes

from propagate.data.images import encode_png
from propagate.datasets.base import DatasetOptions
from propagate.errors import InputError
from segtrain.data.dataset import SegmentationDataset
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.errors import DataError


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., SegmentationDataset]:
    """A CamVid tree of one frame and its label map, both as given."""

    def make(image: np.ndarray, label: np.ndarray) -> SegmentationDataset:
        for folder, pixels in (("val", image), ("valannot", label)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "a_1.png").write_bytes(encode_png(pixels))
        return open_labelled_frames("camvid", DatasetOptions(root=tmp_path, split="val"))

    return make


def test_a_frame_and_a_label_map_of_two_sizes_are_refused(pair: Callable[..., SegmentationDataset]) -> None:
    dataset = pair(np.zeros((8, 9, 3), np.uint8), np.zeros((8, 10), np.uint8))
    with pytest.raises(DataError, match=r"val/a_1\.png: a frame of 8x9, but its label map .*annot/a_1\.png is of 8x10"):
        dataset.read(0)


def test_another_class_table_reads_other_classes_from_label_ids_alone(tmp_path: Path) -> None:
    label = np.array([[0, 3, 11]], np.uint8)
    for name, pixels in (("img/7.png", np.zeros((1, 3, 3), np.uint8)), ("map/7.png", label)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(encode_png(pixels))
    layout = tmp_path / "layout.yaml"
    text = "frames: 'img/{frame}.png'\nlabels: 'map/{frame}.png'\nclasses: camvid\n"
    options = DatasetOptions(root=tmp_path, layout=layout)
    layout.write_text(text)
    dataset = open_labelled_frames("folder", options, classes=merged_classes())
    assert dataset.read(0).label.tolist() == [[0, 1, 255]]
    assert dataset.index(64).class_names == dataset.classes.train_names == ("Sky", "Road")
    layout.write_text(f"{text}labels_hold: train_ids\n")
    with pytest.raises(
        DataError, match=r"map/7\.png: holds train ids of the class table 'camvid', which 'roads' can't"
    ):
        open_labelled_frames("folder", options, classes=merged_classes())


def test_an_unknown_label_id_names_its_file(pair: Callable[..., SegmentationDataset]) -> None:
    dataset = pair(np.zeros((8, 9, 3), np.uint8), np.full((8, 9), 77, np.uint8))
    for use in (lambda: dataset.read(0), lambda: dataset.index(64)):
        with pytest.raises(InputError, match=r"valannot/a_1\.png: holds label ids .* 77 \(72 pixels\)"):
            use()


def test_a_label_map_without_its_frame_is_refused(tmp_path: Path, pair: Callable[..., SegmentationDataset]) -> None:
    pair(np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), np.uint8))
    (tmp_path / "valannot" / "a_2.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"^1 of 2 label maps have no frame: .*valannot/a_2\.png: its frame a_2 is miss"
    ):
        open_labelled_frames("camvid", DatasetOptions(root=tmp_path, split="val"))
