"""Clips that reach up to another annotated frame, opened: what can be used from either end."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.timing import Stopwatch
from propagate.carry.opened import OpenClip, open_clip
from propagate.data.classes import load_classes
from propagate.data.clip import Beyond, Clip, Label, Resource
from propagate.data.images import encode_png
from propagate.data.memory_frame import MemoryFrame
from propagate.errors import InputError, UnreachableError

CLASSES = load_classes("camvid")
DISTANCE, REACH = 6, 4
SIZE = (8, 12)


class BadFrame(MemoryFrame):
    def pixels(self) -> np.ndarray:
        raise (UnreachableError if self.key.endswith("far") else InputError)(self.where, "cannot be read")


def label(root: Path, name: str, label_id: int, size: tuple[int, int] = SIZE) -> Label:
    data = encode_png(np.full(size, label_id, np.uint8))
    (root / name).write_bytes(data)
    return Label(Resource(str(root), name, len(data)))


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Two frames before the annotated one, and those up to the annotated one beyond."""
    frames = {
        offset: MemoryFrame(f"s_{offset}", np.full((*SIZE, 3), 50 + offset, np.uint8))
        for offset in range(-2, DISTANCE + 1)
    }
    beyond = Beyond(offset=DISTANCE, key=f"s_{DISTANCE}", label=label(tmp_path, "beyond.png", 2), reach=REACH)
    return Clip(key="s_0", split="t", group="s", frames=frames, label=label(tmp_path, "own.png", 1), beyond=beyond)


def opened(clip: Clip, bad: Collection[int] = (), kind: str = "near") -> OpenClip:
    """What threads find, which is what one finds; frames at some offsets cannot be read."""
    nothing = np.empty((0, 0, 3), np.uint8)
    frames = {**clip.frames, **{offset: BadFrame(f"s_{offset}_{kind}", nothing) for offset in bad}}
    found, in_threads = (
        open_clip(replace(clip, frames=frames), CLASSES, Stopwatch(), num_threads=threads) for threads in (1, 3)
    )
    assert list(found.pictures) == list(in_threads.pictures)
    assert (found.failures, found.unreachable) == (in_threads.failures, in_threads.unreachable)
    assert all(int(picture.pixels[0, 0, 0, 0]) == 50 + offset for offset, picture in found.pictures.items())
    return found


def test_all_frames_up_to_the_one_beyond_are_read_with_its_label_map(clip: Clip) -> None:
    found = opened(clip)
    assert list(found.pictures) == [0, 1, 2, 3, 4, 5, 6, -1, -2]
    assert (found.failures, found.unreachable) == ((), False)
    assert found.label.shape == SIZE
    assert (found.label == 1).all()
    assert found.beyond is not None
    assert found.beyond.shape == SIZE
    assert (found.beyond == 2).all()


def test_a_clip_with_nothing_beyond_is_read_as_ever(clip: Clip) -> None:
    found = opened(replace(clip, beyond=None))
    assert list(found.pictures) == [0, 1, 2, 3, 4, 5, 6, -1, -2]
    assert found.beyond is None


@pytest.mark.parametrize(
    ("bad", "there", "failed"),
    [
        ([1], [0, 2, 3, 4, 5, 6, -1, -2], [1]),
        ([3], [0, 1, 2, 4, 5, 6, -1, -2], [3]),
        ([5], [0, 1, 2, 3, 4, 6, -1, -2], [5]),
        ([2, 5], [0, 1, 6, -1, -2], [2, 5]),
        ([2, 3, 4], [0, 1, 5, 6, -1, -2], [2, 4]),
        ([3, -2], [0, 1, 2, 4, 5, 6, -1], [3, -2]),
    ],
)
def test_a_frame_between_that_cannot_be_used_ends_either_side_there(
    clip: Clip, bad: list[int], there: list[int], failed: list[int]
) -> None:
    found = opened(clip, bad)
    assert list(found.pictures) == there
    assert [failure.offset for failure in found.failures] == failed
    assert found.failures[0].reason == f"memory: s_{failed[0]}_near: cannot be read"
    assert found.beyond is not None


def test_without_the_annotated_frame_beyond_a_clip_goes_as_far_as_its_own_labels(clip: Clip) -> None:
    found = opened(clip, [DISTANCE], "far")
    assert list(found.pictures) == [0, 1, 2, 3, 4, -1, -2]
    assert [failure.offset for failure in found.failures] == [DISTANCE]
    assert (found.beyond, found.unreachable) == (None, True)
    assert clip.beyond is not None
    farther = replace(clip, beyond=replace(clip.beyond, reach=9))
    assert list(opened(farther, [DISTANCE]).pictures) == [0, 1, 2, 3, 4, 5, -1, -2]


def test_a_label_map_beyond_that_cannot_be_used_is_a_failure_there(clip: Clip, tmp_path: Path) -> None:
    assert clip.beyond is not None
    wrong = replace(clip, beyond=replace(clip.beyond, label=label(tmp_path, "wrong.png", 2, (8, 10))))
    found = opened(wrong, [3])
    assert list(found.pictures) == [0, 1, 2, -1, -2]
    assert [failure.offset for failure in found.failures] == [DISTANCE, 3]
    assert "label map of 8x10 for a frame of 8x12: they must have one size" in found.failures[0].reason
    assert found.beyond is None


def test_frames_of_another_size_end_either_side_too(clip: Clip) -> None:
    odd = MemoryFrame("s_odd", np.zeros((8, 10, 3), np.uint8))
    found = opened(replace(clip, frames={**clip.frames, 4: odd}))
    assert list(found.pictures) == [0, 1, 2, 3, 5, 6, -1, -2]
    [failure] = found.failures
    assert (failure.offset, found.beyond is None) == (4, False)
    assert "frame of 8x10, its annotated frame has 8x12" in failure.reason


def test_without_its_own_annotated_frame_what_comes_from_beyond_is_left(clip: Clip, tmp_path: Path) -> None:
    wrong = replace(clip, label=label(tmp_path, "wrong.png", 1, (8, 10)))
    for found in (opened(clip, [0]), opened(wrong)):
        assert list(found.pictures) == [2, 3, 4, 5, 6]
        assert found.beyond is not None
        assert [failure.offset for failure in found.failures] == [0]
    found = opened(clip, [0, 4])
    assert list(found.pictures) == [5, 6]
    assert [failure.offset for failure in found.failures] == [0, 4]


def test_without_either_annotated_frame_a_clip_fails_as_a_whole(clip: Clip) -> None:
    found = opened(clip, [0, DISTANCE])
    assert (found.pictures, found.beyond) == ({}, None)
    assert [failure.offset for failure in found.failures] == [0, DISTANCE]
