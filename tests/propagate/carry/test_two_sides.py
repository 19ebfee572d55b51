"""Frames between two annotated ones: from which of them each has its labels, and what happens where a side fails."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from jobs.timing import Stopwatch
from propagate.carry.carried import Carried
from propagate.carry.opened import OpenClip, OpenFrame
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.clip import Beyond, Clip, Label, Resource
from propagate.data.memory_frame import MemoryFrame
from propagate.data.sample import Sample
from propagate.shards.manifest import Failure
from sdcnet.errors import MotionError
from sdcnet.motion.classical import NoMotion
from sdcnet.motion.estimator import MotionEstimator, Observation, Step

SIZE = (16, 24)
FRAME = np.full((*SIZE, 3), 90, np.uint8)
NO_FILE = Label(Resource("", "", 0))


class Stuck(NoMotion):
    """Cannot estimate some steps, each named by the frame before it and the frame itself, as their keys have them."""

    def __init__(self, *steps: tuple[int, int]) -> None:
        self._stuck = steps

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            place = tuple(int(observations[offset].pixels[0, 0, 0, 0]) for offset in (step.source, step.target))
            if place in self._stuck:
                raise MotionError("stuck")
            yield torch.zeros(1, 2, *SIZE)


def between(distance: int, reach: int, *, without: Sequence[int] = ()) -> OpenClip:
    """A clip of the label 7 with another annotated frame, of label 9, so far after it; pixel 0 counts the frames."""
    pixels = {offset: FRAME.copy() for offset in range(distance + 1)}
    for offset, frame in pixels.items():
        frame[0, 0] = offset
    clip = Clip(
        key="a",
        split="train",
        group="",
        frames={offset: MemoryFrame(f"f{offset}", frame) for offset, frame in pixels.items()},
        label=NO_FILE,
        beyond=Beyond(offset=distance, key="b", label=NO_FILE, reach=reach),
    )
    pictures = {
        offset: OpenFrame(torch.from_numpy(frame).permute(2, 0, 1)[None].contiguous())
        for offset, frame in pixels.items()
        if offset not in without
    }
    one, other = (np.full(SIZE, label, np.uint8) for label in (7, 9))
    return OpenClip(clip, pictures, one, (), unreachable=False, beyond=other)


def carry(opened: OpenClip, estimator: MotionEstimator | None = None) -> tuple[list[Sample], list[Failure]]:
    estimator = estimator or NoMotion()
    failures: list[Failure] = []
    samples = propagate_clip(
        opened,
        ignore_id=0,
        estimator=estimator,
        path=path_of(estimator),
        sample_settings=SampleSettings(source=False),
        watch=Stopwatch(),
        on_failure=failures.append,
    )
    return list(samples), failures


def told(samples: Sequence[Sample]) -> list[tuple[str, str, str, int, str, int, int]]:
    """key, origin, first source and offset, second ones, and the label of a pixel."""
    return [
        (s.key, s.origin, s.source_key, s.offset, s.second_source_key, s.second_offset, int(s.label[8, 8]))
        for s in samples
    ]


def test_each_frame_says_the_nearer_source_first_and_has_its_label() -> None:
    samples, failures = carry(between(6, 4))
    assert failures == []
    assert told(samples) == [
        ("f1", "fused", "a", 1, "b", -5, 7),
        ("f2", "fused", "a", 2, "b", -4, 7),
        ("f3", "fused", "a", 3, "b", -3, 7),
        ("f4", "fused", "b", -2, "a", 4, 9),
        ("f5", "fused", "b", -1, "a", 5, 9),
    ]


def test_a_clip_without_a_usable_frame_beyond_is_carried_from_its_own_side() -> None:
    opened = between(4, 3)
    samples, failures = carry(replace(opened, beyond=None, pictures={k: opened.pictures[k] for k in range(4)}))
    assert failures == []
    assert [(s.key, s.origin, s.offset) for s in samples] == [(f"f{k}", "propagated", k) for k in (1, 2, 3)]


@pytest.mark.parametrize(
    "failing", [lambda: (between(5, 4, without=[2]), None), lambda: (between(5, 4), Stuck((1, 2), (3, 2)))]
)
def test_what_one_side_does_not_reach_has_the_labels_of_the_other(failing: object) -> None:
    """A frame that cannot be used, or motion that cannot be estimated, ends each side where it meets it."""
    opened, estimator = failing()  # type: ignore[operator]
    samples, failures = carry(opened, estimator)
    assert told(samples) == [
        ("f1", "propagated", "a", 1, "", 0, 7),
        ("f3", "propagated", "b", -2, "", 0, 9),
        ("f4", "propagated", "b", -1, "", 0, 9),
    ]
    assert [(failure.clip, failure.offset) for failure in failures] == ([("a", 2)] * 2 if estimator else [])


def test_a_side_that_fails_leaves_the_rest_to_the_other() -> None:
    samples, failures = carry(between(5, 4), Stuck((1, 2)))
    assert [(s.key, s.origin, s.source_key) for s in samples] == [
        ("f1", "fused", "a"),
        ("f2", "propagated", "b"),
        ("f3", "propagated", "b"),
        ("f4", "propagated", "b"),
    ]
    assert [(failure.offset, failure.reason) for failure in failures] == [(2, "memory: f2: stuck")]


def test_a_clip_whose_own_frame_is_lost_leaves_what_it_shares_to_the_other() -> None:
    samples, failures = carry(between(6, 4, without=[0, 1]))
    assert failures == []
    assert [(s.key, s.origin, s.source_key, s.offset) for s in samples] == [
        ("f2", "propagated", "b", -4),
        ("f3", "propagated", "b", -3),
        ("f4", "propagated", "b", -2),
        ("f5", "propagated", "b", -1),
    ]


def test_one_side_alone_carries_no_farther_than_it_was_asked_to() -> None:
    samples, failures = carry(between(8, 4, without=[2]))
    assert failures == []
    assert [(s.key, s.origin, s.source_key) for s in samples] == [
        ("f1", "propagated", "a"),
        ("f4", "propagated", "b"),
        ("f5", "propagated", "b"),
        ("f6", "propagated", "b"),
        ("f7", "propagated", "b"),
    ]
    samples, _ = carry(between(8, 4, without=[7]))
    assert [(s.key, s.source_key) for s in samples] == [("f1", "a"), ("f2", "a"), ("f3", "a"), ("f4", "a")]


def test_corrections_see_the_frames_and_their_keys_in_turn_and_what_they_raise_is_a_failure() -> None:
    seen: list[str] = []

    def correct(carried: Carried, targets: Tensor, keys: Sequence[str]) -> Carried:
        seen.extend(keys)
        assert targets.shape == (1, 3, *SIZE)
        if keys == ["f3"]:
            raise MotionError("no more")
        return replace(carried, label=carried.label + 100)

    failures: list[Failure] = []
    samples = propagate_clip(
        between(6, 4),
        ignore_id=0,
        estimator=NoMotion(),
        path=path_of(NoMotion()),
        sample_settings=SampleSettings(source=False),
        watch=Stopwatch(),
        on_failure=failures.append,
        corrections=[correct],
    )
    assert [int(sample.label[8, 8]) for sample in samples] == [107, 107]
    assert seen == ["f1", "f2", "f3"]
    assert [failure.reason for failure in failures] == ["memory: f3: no more"]
