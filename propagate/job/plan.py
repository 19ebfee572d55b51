"""Clips to a plan: which clip goes into which shard. It follows from data set and settings alone."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from propagate.data.clip import LABEL_IDS, TRAIN_IDS, Clip, Label
from propagate.errors import InputError
from propagate.shards.manifest import PlannedClip, ShardPlan
from propagate.shards.schema import encode_key

MOST_CLIPS, FEWEST_SHARDS = 16, 16
_HELD = {LABEL_IDS: False, TRAIN_IDS: True}  # as digests have it, since there were these two alone


def make_plan(clips: Sequence[Clip], clips_per_shard: int | None) -> tuple[ShardPlan, ...]:
    """Group clips, in their order, by the size of their annotated frame, and cut each group into shards.

    clips_per_shard: by default MOST_CLIPS, or so few that there are FEWEST_SHARDS: shards are made side by side, and
    one that is half made is lost when a run is stopped.

    A clip whose frame does not tell its size fails later, when its shard is made. Until then it gets a shard of its
    own, so that it fits in, whatever its size, once it is mended.
    """
    if clips_per_shard is None:
        clips_per_shard = max(1, min(MOST_CLIPS, len(clips) // FEWEST_SHARDS))
    by_size: dict[tuple[int, int], list[Clip]] = {}
    unreadable: list[Clip] = []
    for clip in clips:
        size = _size(clip)
        if size is None:
            unreadable.append(clip)
        else:
            by_size.setdefault(size, []).append(clip)
    groups: list[tuple[tuple[int, int] | None, list[Clip]]] = [
        (size, group[start : start + clips_per_shard])
        for size, group in sorted(by_size.items())
        for start in range(0, len(group), clips_per_shard)
    ]
    groups += [(None, [clip]) for clip in unreadable]
    return tuple(
        ShardPlan(index=index, size=size, clips=tuple(_planned(clip) for clip in group))
        for index, (size, group) in enumerate(groups)
    )


def num_samples(clip: PlannedClip, settings: Mapping[str, Any]) -> int:
    """How many samples a clip has where nothing fails, by the settings of its store."""
    if (offsets := settings.get("offsets")) is not None:
        return sum(-clip.before <= offset <= clip.after for offset in offsets)
    beyond, every = settings.get("beyond", 0), settings.get("every", 1)
    with_source = 1 if settings.get("source", True) else 0
    return with_source + sum(max(0, reach - beyond) // every for reach in (clip.before, clip.after))


def _size(clip: Clip) -> tuple[int, int] | None:
    try:
        return clip.frames[0].size() if 0 in clip.frames else None
    except InputError:
        return None


def _planned(clip: Clip) -> PlannedClip:
    for frame in clip.frames.values():
        encode_key(frame.key)
    encode_key(clip.group)
    after = max(clip.frames, default=0) if clip.beyond is None else clip.beyond.between[-1]
    return PlannedClip(key=clip.key, inputs=_digest(clip), before=-min(clip.frames, default=0), after=after)


def _digest(clip: Clip) -> str:
    """One text for everything that a clip is made from, such as relative names, sizes, CRCs; no times, no root."""
    inputs: dict[str, Any] = {
        "frames": [[offset, frame.key, *frame.identity] for offset, frame in sorted(clip.frames.items())],
        "label": None if clip.label is None else _identity(clip.label),
        "missing": sorted(clip.missing),
    }
    if clip.masks:
        inputs["masks"] = [[offset, *resource.identity] for offset, resource in sorted(clip.masks.items())]
    if clip.beyond is not None:
        inputs["beyond"] = [clip.beyond.offset, *_identity(clip.beyond.label)]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _identity(label: Label) -> list[Any]:
    return [*label.resource.identity, _HELD.get(label.holds, label.holds)]
