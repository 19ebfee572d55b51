"""Plans: which clips share a shard, and what makes a clip another one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from propagate.data.clip import ArchiveMember, Beyond, Clip, Label, Resource
from propagate.data.file_frame import FileFrame
from propagate.data.images import encode_png
from propagate.job.plan import make_plan, num_samples


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Frames of three sizes by name, and a file that is no image."""
    for name, size in (("large", (8, 12)), ("small", (4, 12)), ("narrow", (8, 6))):
        (tmp_path / name).write_bytes(encode_png(np.zeros((*size, 3), np.uint8)))
    (tmp_path / "text").write_text("no image")
    return tmp_path


def clip(root: Path, key: str, name: str = "large", *, reach: tuple[int, int] = (-1, 2), **fields: object) -> Clip:
    """A clip whose frames all lie in the file `name`."""
    image = Resource(str(root), name, (root / name).stat().st_size)
    frames = {offset: FileFrame(f"{key}_{offset}", image) for offset in range(reach[0], reach[1] + 1)}
    label = Label(Resource(str(root), f"{key}.png", 70))
    values: dict[str, object] = {"split": "train", "group": "seq", "frames": frames, "label": label}
    return Clip(key=key, **{**values, **fields})  # type: ignore[arg-type]


def test_clips_of_one_size_share_shards_in_their_order_the_smallest_size_first(root: Path) -> None:
    names = ["large", "small", "large", "text", "large", "narrow", "text", "large", "large"]
    plan = make_plan([clip(root, f"k{n}", name) for n, name in enumerate(names)], clips_per_shard=2)
    found = [(shard.index, shard.size, [planned.key for planned in shard.clips]) for shard in plan]
    assert found == [
        (0, (4, 12), ["k1"]),
        (1, (8, 6), ["k5"]),
        (2, (8, 12), ["k0", "k2"]),
        (3, (8, 12), ["k4", "k7"]),
        (4, (8, 12), ["k8"]),
        (5, None, ["k3"]),
        (6, None, ["k6"]),
    ]


@pytest.mark.parametrize(("num_clips", "num_shards", "most"), [(6, 6, 1), (40, 20, 2), (256, 16, 16), (400, 25, 16)])
def test_by_default_there_are_sixteen_shards_or_more(root: Path, num_clips: int, num_shards: int, most: int) -> None:
    plan = make_plan([clip(root, f"k{n}", reach=(0, 0)) for n in range(num_clips)], None)
    assert len(plan) == num_shards
    assert max(len(shard.clips) for shard in plan) == most


def test_a_planned_clip_says_how_far_it_reaches_both_ways(root: Path) -> None:
    [shard] = make_plan([clip(root, "a"), clip(root, "b", reach=(0, 0)), clip(root, "c", reach=(-3, 0))], 16)
    assert [(planned.before, planned.after) for planned in shard.clips] == [(1, 2), (0, 0), (3, 0)]


def test_of_frames_up_to_another_annotated_one_a_clip_has_all_between(root: Path) -> None:
    label = Label(Resource(str(root), "b.png", 70))
    settings = {"source": True}
    for distance, reach, after in ((2, 5, 1), (4, 3, 3), (6, 3, 5)):
        beyond = Beyond(offset=distance, key="b", label=label, reach=reach)
        [shard] = make_plan([clip(root, "a", reach=(-1, distance), beyond=beyond)], 16)
        [planned] = shard.clips
        assert (planned.before, planned.after) == (1, after)
        assert num_samples(planned, settings) == 2 + after


def test_a_clip_is_another_one_by_what_lies_beyond_and_otherwise_what_it_was(root: Path) -> None:
    alone = clip(root, "a")
    image = Resource("elsewhere", "large", 127)
    fixed = replace(alone, frames={offset: FileFrame(f"a_{offset}", image) for offset in (-1, 0, 1, 2)})
    # as it was before clips had anything beyond
    assert inputs(fixed) == "3ed7f7b2029d96d748736cb961ad45c5e6c477797bef90704a66ff4c03528bc4"
    label = Label(Resource(str(root), "b.png", 70))
    beyond = Beyond(offset=2, key="b", label=label, reach=2)
    others = [
        replace(alone, beyond=beyond),
        replace(alone, beyond=replace(beyond, offset=3)),
        replace(alone, beyond=replace(beyond, label=Label(replace(label.resource, size=71)))),
        replace(alone, beyond=replace(beyond, label=replace(label, holds="train_ids"))),
    ]
    assert len({inputs(each) for each in (alone, *others)}) == 1 + len(others)


def inputs(each: Clip) -> str:
    [shard] = make_plan([each], 1)
    return shard.clips[0].inputs


def changed_frame(frames: Mapping[int, Any], offset: int, frame: FileFrame) -> dict[int, Any]:
    return {**frames, offset: frame}


def test_a_clip_is_another_one_as_soon_as_anything_that_it_is_made_from_is(root: Path) -> None:
    first = clip(root, "a")
    frame, label = first.frames[-1], first.label
    assert isinstance(frame, FileFrame)
    image = frame.image
    packed = ArchiveMember("a.zip", 0, 10, True, crc=5)
    others = [
        replace(first, frames=changed_frame(first.frames, -1, replace(frame, key="other"))),
        replace(first, frames=changed_frame(first.frames, -1, replace(frame, image=replace(image, name="small")))),
        replace(first, frames=changed_frame(first.frames, -1, replace(frame, image=replace(image, size=99)))),
        replace(first, frames=changed_frame(first.frames, -1, replace(frame, image=replace(image, member=packed)))),
        replace(first, frames=changed_frame(first.frames, 3, replace(frame, key="a_3"))),
        replace(first, label=replace(label, holds="train_ids")),
        replace(first, label=Label(replace(label.resource, name="other.png"))),
        replace(first, label=Label(replace(label.resource, size=71))),
        replace(first, missing={3: "no frame a_3"}),
    ]

    assert len({inputs(each) for each in (first, *others)}) == 1 + len(others)
    assert inputs(replace(first, frames=dict(reversed(first.frames.items())))) == inputs(first)
    reasons = replace(first, missing={3: "one"}), replace(first, missing={3: "another"})
    assert inputs(reasons[0]) == inputs(reasons[1])
