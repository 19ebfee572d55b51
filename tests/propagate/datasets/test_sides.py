"""Which of two clips works on the frames between them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from propagate.data.clip import Beyond, Clip, Label, Resource
from propagate.data.memory_frame import MemoryFrame
from propagate.datasets.sides import two_sided
from propagate.errors import InputError


def label(number: int) -> Label:
    return Label(Resource("root", f"s_{number}.png", number))


@cache
def frame(number: int, size: tuple[int, int] = (4, 6)) -> MemoryFrame:
    return MemoryFrame(f"s_{number}", np.zeros((*size, 3), np.uint8))


def sequence(
    annotated: Sequence[int],
    num_neighbours: int,
    *,
    length: int = 40,
    holes: Sequence[int] = (),
    sizes: dict[int, tuple[int, int]] | None = None,
) -> list[Clip]:
    """The clips of one sequence, as a layout gives them that knows which frames are missing."""
    clips = []
    for number in annotated:
        frames, missing = {0: frame(number, (sizes or {}).get(number, (4, 6)))}, dict[int, str]()
        for direction in (-1, 1):
            for offset in range(direction, direction * (num_neighbours + 1), direction):
                if number + offset in holes:
                    missing[offset] = f"no frame {number + offset}"
                if number + offset in holes or not 0 <= number + offset < length:
                    break
                frames[offset] = frame(number + offset, (sizes or {}).get(number + offset, (4, 6)))
        frames = dict(sorted(frames.items()))
        clips.append(
            Clip(key=f"s_{number}", split="train", group="s", frames=frames, label=label(number), missing=missing)
        )
    return clips


def reaches(clips: Sequence[Clip]) -> list[tuple[int, int]]:
    """The first and the last offset of each clip, whose frames are those at its offsets, without holes."""
    for clip in clips:
        start = int(clip.key.removeprefix("s_"))
        assert {offset: each.key for offset, each in clip.frames.items()} == {
            offset: f"s_{start + offset}" for offset in range(min(clip.frames), max(clip.frames) + 1)
        }
        assert list(clip.frames) == sorted(clip.frames)
    return [(min(clip.frames), max(clip.frames)) for clip in clips]


@pytest.mark.parametrize("distance", [2, 3, 5, 6, 7, 9, 10])
def test_the_frames_between_two_clips_that_share_one_are_the_earlier_ones(distance: int) -> None:
    earlier, later = two_sided(sequence([10, 10 + distance], 5), 5)
    assert reaches([earlier, later]) == [(-5, distance), (0, 5)]
    assert earlier.beyond == Beyond(offset=distance, key=f"s_{10 + distance}", label=label(10 + distance), reach=5)
    assert list(earlier.beyond.between) == list(range(1, distance))
    assert later.beyond is None


def test_annotated_frames_in_succession_have_nothing_between_them() -> None:
    clips = two_sided(sequence([10, 11, 12], 3), 3)
    assert reaches(clips) == [(-3, 0), (0, 0), (0, 3)]
    assert [clip.beyond for clip in clips] == [None] * 3


def test_clips_that_share_no_frame_stay_as_they_are() -> None:
    clips = sequence([10, 21], 5)
    assert two_sided(clips, 5) == clips
    holed = sequence([10, 14], 5, holes=[12])
    assert two_sided(holed, 5) == holed
    assert two_sided(sequence([10, 12], 0), 0) == sequence([10, 12], 0)


def test_of_three_annotated_frames_each_pairs_up_with_the_next_alone() -> None:
    clips = two_sided(sequence([10, 12, 18], 8), 8)
    assert reaches(clips) == [(-8, 2), (0, 6), (0, 8)]
    assert [clip.beyond and clip.beyond.key for clip in clips] == ["s_12", "s_18", None]
    in_another_order = two_sided(sequence([18, 10, 12], 8), 8)
    assert in_another_order == [clips[2], clips[0], clips[1]]


def test_what_is_missing_where_another_clip_lies_is_that_clips_to_say() -> None:
    clips = sequence([10, 12], 5, holes=[8, 14])
    assert [sorted(clip.missing) for clip in clips] == [[-2, 4], [-4, 2]]
    found = two_sided(clips, 5)
    assert reaches(found) == [(-1, 2), (0, 1)]
    assert [sorted(clip.missing) for clip in found] == [[-2], [2]]


def test_no_labels_are_fused_that_do_not_fit_together() -> None:
    for other_size in ({14: (6, 4)}, {10: (6, 4)}):
        clips = sequence([10, 14], 5, sizes=other_size)
        assert two_sided(clips, 5) == clips
    earlier, later = sequence([10, 14], 5)
    for pair in (
        [earlier, replace(later, group="t")],
        [earlier, replace(later, label=None)],
        [replace(earlier, label=None), later],
    ):
        assert two_sided(pair, 5) == pair


def test_a_frame_that_does_not_tell_its_size_leaves_its_clip_alone() -> None:
    class Unreadable(MemoryFrame):
        def size(self) -> tuple[int, int]:
            raise InputError(self.where, "cannot be read")

    earlier, middle, later = sequence([10, 14, 18], 5)
    middle = replace(middle, frames={**middle.frames, 0: Unreadable("s_14", np.zeros((4, 6, 3), np.uint8))})
    assert two_sided([earlier, middle, later], 5) == [earlier, middle, later]  # nor are the outer ones neighbours


def test_nothing_is_lost_and_nothing_is_done_twice() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        reach = int(generator.integers(1, 7))
        annotated = sorted(generator.choice(40, 5, replace=False).tolist())
        holes = set(generator.choice(40, 3, replace=False).tolist()) - set(annotated)
        clips = sequence(annotated, reach, holes=sorted(holes))
        found = two_sided(clips, reach)
        places = []
        for number, clip in zip(annotated, found, strict=True):
            ahead = max(clip.frames) if clip.beyond is None else clip.beyond.between[-1]
            places += [number + offset for offset in range(min(clip.frames), ahead + 1)]
        everywhere = {number + offset for number, clip in zip(annotated, clips, strict=True) for offset in clip.frames}
        assert sorted(places) == sorted(everywhere)
