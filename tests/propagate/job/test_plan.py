"""Plans: which clips share a shard, and what makes a clip another one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from propagate.data.clip import ArchiveMember, Clip, Label, Resource
from propagate.data.file_frame import FileFrame
from propagate.data.images import encode_png
from propagate.job.plan import make_plan


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


def test_a_planned_clip_says_how_far_it_reaches_both_ways(root: Path) -> None:
    [shard] = make_plan([clip(root, "a"), clip(root, "b", reach=(0, 0)), clip(root, "c", reach=(-3, 0))], 16)
    assert [(planned.before, planned.after) for planned in shard.clips] == [(1, 2), (0, 0), (3, 0)]


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

    def inputs(each: Clip) -> str:
        [shard] = make_plan([each], 1)
        return shard.clips[0].inputs

    assert len({inputs(each) for each in (first, *others)}) == 1 + len(others)
    assert inputs(replace(first, frames=dict(reversed(first.frames.items())))) == inputs(first)
    reasons = replace(first, missing={3: "one"}), replace(first, missing={3: "another"})
    assert inputs(reasons[0]) == inputs(reasons[1])
