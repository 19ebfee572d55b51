"""Frames encoded in memory for their motion vectors."""

import cv2
import numpy as np
import pytest

from sdcnet.errors import MotionError
from sdcnet.frames.exported import IS_KEY
from sdcnet.frames.transcoding import LARGEST_GROUP, Transcoder, transcoded

SHIFT = (3, -2)  # of what is seen, from frame to frame


def moving(num_frames: int, size: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    """A window that slides over a smooth texture, so that what it shows moves by SHIFT."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    corners = [(100 - n * SHIFT[0], 100 - n * SHIFT[1]) for n in range(num_frames)]
    return [np.ascontiguousarray(texture[y : y + size[0], x : x + size[1]]) for x, y in corners]


def test_vectors_lead_to_where_things_were() -> None:
    pictures = moving(8)
    found = list(transcoded(iter(pictures), group=4))
    assert [frame.is_key for frame in found] == [True, False, False, False] * 2
    assert [frame.without_vectors for frame in found] == [IS_KEY, None, None, None] * 2
    assert [frame.number for frame in found] == list(range(8))
    for frame, pixels in zip(found, pictures, strict=True):
        assert frame.pixels is pixels
        if frame.vectors is not None:
            moved = [frame.vectors[f"motion_{axis}"] / frame.vectors["motion_scale"] for axis in "xy"]
            assert tuple(map(np.median, moved)) == (-SHIFT[0], -SHIFT[1])


def test_a_cut_is_no_key_frame() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    assert [frame.is_key for frame in transcoded(noise)] == [True, False, False]


def test_another_size_begins_a_group() -> None:
    found = list(transcoded([*moving(3), *moving(3, (48, 33))]))
    assert [frame.is_key for frame in found] == [True, False, False] * 2
    assert found[4].size == (48, 33)


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (65, 97)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    transcoder = Transcoder(size)
    assert [transcoder.vectors_of(frame)[0] is None for frame in moving(3, size)] == [True, False, False]


def test_a_group_has_a_limit() -> None:
    for group in (0, LARGEST_GROUP + 1):
        with pytest.raises(ValueError, match=f"a group of {group} frames, expected 1…600"):
            Transcoder((64, 96), group)


def test_frames_that_are_too_large_are_refused() -> None:
    sentence = (
        r"frames of 16x9000 cannot be encoded as MPEG-4 \(Invalid argument\), whose sides have at most 8191 pixels"
    )
    with pytest.raises(MotionError, match=sentence):
        Transcoder((16, 9000)).vectors_of(np.zeros((16, 9000, 3), np.uint8))
