"""The plan takes from a frame its key, its size and its identity: stores that were begun long ago go on."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from propagate.data.clip import ArchiveMember, Clip, Label, Resource
from propagate.data.file_frame import FileFrame
from propagate.data.memory_frame import MemoryFrame
from propagate.job.plan import make_plan

LABEL = Label(Resource("/r", "labels/a.png", 5), holds="train_ids")
CLIP = Clip(
    key="a",
    split="train",
    group="seq",
    frames={
        -1: FileFrame("b", Resource("/r", "seq/b.png", 9, ArchiveMember("seq.zip", 40, 8, True, 123456))),
        0: FileFrame("a", Resource("/r", "seq/a.png", 7)),
    },
    label=LABEL,
    missing={1: "gone"},
)


def inputs(clip: Clip) -> str:
    [plan] = make_plan([clip], 4)
    [planned] = plan.clips
    return planned.inputs


def test_the_digest_of_files_is_what_it_always_was() -> None:
    assert inputs(CLIP) == "7e367456f162277821b367f1a1fd1457c8b5316736c1c5a1cdfc97f50fb507f3"


def test_the_order_of_frames_does_not_count_and_every_identity_does() -> None:
    backwards = {offset: CLIP.frames[offset] for offset in (0, -1)}
    assert inputs(replace(CLIP, frames=backwards)) == inputs(CLIP)
    other = FileFrame("a", Resource("/r", "seq/a.png", 8))
    assert inputs(replace(CLIP, frames={**CLIP.frames, 0: other})) != inputs(CLIP)


def test_frames_tell_their_size_and_unreadable_ones_are_planned_alone(tmp_path: Path) -> None:
    def of(key: str, *size: int) -> Clip:
        return replace(CLIP, key=key, frames={0: MemoryFrame(key, np.zeros((*size, 3), np.uint8))})

    unreadable = replace(CLIP, key="x", frames={0: FileFrame("x", Resource(str(tmp_path), "x.png", 7))})
    plans = make_plan([of("a", 4, 6), unreadable, of("b", 2, 6), of("c", 4, 6)], 4)
    found = [(plan.size, [clip.key for clip in plan.clips]) for plan in plans]
    assert found == [((2, 6), ["b"]), ((4, 6), ["a", "c"]), (None, ["x"])]
