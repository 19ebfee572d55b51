"""A whole run on a data set whose frames are no files."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from memory_frames import in_memory

from propagate.data.clip import Clip, Label
from propagate.data.images import decode_frame
from propagate.data.memory_frame import MemoryFrame
from propagate.datasets.base import Dataset, DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.errors import StoreError
from propagate.job.run import RunConfig, run
from propagate.shards.reader import open_store
from propagate.shards.verify import verify_store
from sdcnet.motion.registry import MotionSettings


class Recalled:
    """Another data set, with its frames in memory."""

    def __init__(self, files: Dataset) -> None:
        self.classes, self._files = files.classes, files
        self.changed: dict[int, np.ndarray] = {}  # other pixels, by the offset in each clip

    def clips(self, num_neighbours: int) -> list[Clip]:
        return [self._recalled(clip) for clip in self._files.clips(num_neighbours)]

    def labels(self, keys: Iterable[str]) -> Mapping[str, Label]:
        return self._files.labels(keys)

    def _recalled(self, clip: Clip) -> Clip:
        frames = in_memory(clip).frames
        changed = {offset: MemoryFrame(frames[offset].key, pixels) for offset, pixels in self.changed.items()}
        return replace(clip, frames={**frames, **changed})


@pytest.fixture
def recalled(street: Path, monkeypatch: pytest.MonkeyPatch) -> Recalled:
    dataset = Recalled(open_dataset("cityscapes", DatasetOptions(root=street)))
    monkeypatch.setattr("propagate.job.run.open_dataset", lambda *_: dataset)
    return dataset


def config(street: Path, out: Path, motion: str = "dis") -> RunConfig:
    return RunConfig(
        options=DatasetOptions(root=street),
        out=out,
        frames=2,
        limit=2,
        clips_per_shard=1,
        motion=MotionSettings(name=motion),
        engine="local",
    )


def test_frames_in_memory_make_the_store_of_the_same_frames_in_files(
    street: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run(config(street, tmp_path / "files"))
    request.getfixturevalue("recalled")
    summary = run(config(street, tmp_path / "memory"))
    assert (summary.samples, summary.failures, summary.lost) == (10, (), ())
    assert verify_store(tmp_path / "memory").faults == ()
    stores = (open_store(tmp_path / name).samples() for name in ("files", "memory"))
    for of_file, of_memory in zip(*stores, strict=True):
        assert (of_memory.key, of_memory.offset) == (of_file.key, of_file.offset)
        first, second = (decode_frame(bytes(sample.image), sample.key) for sample in (of_file, of_memory))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(of_file.label, of_memory.label)
        np.testing.assert_array_equal(of_file.confidence, of_memory.confidence)


def test_a_finished_store_is_recognised_by_its_frames(street: Path, tmp_path: Path, recalled: Recalled) -> None:
    wanted = config(street, tmp_path / "out", "none")
    assert run(wanted).written == 10
    assert run(wanted).planned == 0
    recalled.changed[1] = np.zeros((128, 256, 3), np.uint8)
    with pytest.raises(StoreError, match=r"the inputs of 2 clips, first .*: files were added, removed or changed"):
        run(wanted)
