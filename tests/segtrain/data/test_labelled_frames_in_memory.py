"""Annotated frames are read through what a frame says of itself, wherever it lies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from memory_frames import in_memory

from propagate.data.clip import Clip
from propagate.data.memory_frame import MemoryFrame
from propagate.datasets.base import Dataset, DatasetOptions
from propagate.datasets.registry import open_dataset
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.errors import DataError


class Recalled:
    """Another data set, whose frames are in memory, some with other pixels: by their offset."""

    def __init__(self, files: Dataset, changed: dict[int, np.ndarray]) -> None:
        self.classes, self.labels = files.classes, files.labels
        self._files, self._changed = files, changed

    def clips(self, num_neighbours: int) -> list[Clip]:
        clips = [in_memory(clip) for clip in self._files.clips(num_neighbours)]
        return [
            replace(clip, frames={o: self._recalled(o, frame.key, frame.pixels()) for o, frame in clip.frames.items()})
            for clip in clips
        ]

    def _recalled(self, offset: int, key: str, pixels: np.ndarray) -> MemoryFrame:
        return MemoryFrame(key, self._changed.get(offset, pixels))


def recall(street: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[int, np.ndarray]) -> None:
    dataset = Recalled(open_dataset("cityscapes", DatasetOptions(root=street)), changed)
    monkeypatch.setattr("segtrain.data.labelled_frames.open_dataset", lambda *_: dataset)


def test_frames_in_memory_are_the_samples_of_the_same_frames_in_files(
    street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_files = open_labelled_frames("cityscapes", DatasetOptions(root=street), offsets=(-1, 2))
    recall(street, monkeypatch, {})
    of_memory = open_labelled_frames("cityscapes", DatasetOptions(root=street), offsets=(-1, 2))
    assert of_memory.records == of_files.records
    assert of_memory.size(1) == of_files.size(1) == (128, 256)
    first, second = of_files.read(1), of_memory.read(1)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.label, second.label)
    np.testing.assert_array_equal(first.neighbours, second.neighbours)


@pytest.mark.parametrize(
    ("offset", "sentence"),
    [
        (0, "memory: .*_000019: a frame of 64x256, but its label map .*labelIds.png is of 128x256"),
        (2, "memory: .*_000021: a frame of 64x256, but its neighbour memory: .*_000019 is of 128x256"),
    ],
)
def test_a_frame_of_another_size_is_named(
    street: Path, monkeypatch: pytest.MonkeyPatch, offset: int, sentence: str
) -> None:
    recall(street, monkeypatch, {offset: np.zeros((64, 256, 3), np.uint8)})
    samples = open_labelled_frames("cityscapes", DatasetOptions(root=street), offsets=(2,))
    with pytest.raises(DataError, match=sentence):
        samples.read(0)
