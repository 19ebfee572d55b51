"""Clips to clips that share the work on the frames between two annotated ones: labels reach these from both sides."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from propagate.data.clip import Beyond, Clip, Label
from propagate.errors import InputError


def two_sided(clips: Sequence[Clip], num_neighbours: int) -> list[Clip]:
    """The clips, in their order: the frames between neighbours are worked on once, by the earlier one.

    num_neighbours: how far labels are carried from each annotated frame, and how far the frames of each clip reach.

    Two clips are neighbours where one has a frame ahead that the other has behind, or annotated, and no annotated frame
    lies between. The earlier is given the later one's frames up to its annotated frame, and what is `beyond`; the later
    keeps those after it. Nothing changes where annotated frames have two sizes, or do not tell them, where clips are of
    two groups, or one is without a label map.
    """
    changed = list(clips)
    for earlier, later, distance in _neighbours(clips):
        label = _label_beyond(clips[earlier], clips[later])
        if label is None:
            continue
        ahead, behind = changed[earlier], changed[later]
        between = {offset + distance: frame for offset, frame in clips[later].frames.items() if -distance < offset <= 0}
        beyond = Beyond(offset=distance, key=behind.key, label=label, reach=num_neighbours)
        last = distance if beyond.between else 0
        frames = {offset: frame for offset, frame in {**between, **ahead.frames}.items() if offset <= last}
        changed[earlier] = replace(
            ahead,
            frames=dict(sorted(frames.items())),
            missing={offset: reason for offset, reason in ahead.missing.items() if offset <= 0},
            beyond=beyond if beyond.between else None,
        )
        changed[later] = replace(
            behind,
            frames={offset: frame for offset, frame in behind.frames.items() if offset >= 0},
            missing={offset: reason for offset, reason in behind.missing.items() if offset >= 0},
        )
    return changed


def _neighbours(clips: Sequence[Clip]) -> Iterator[tuple[int, int, int]]:
    """(earlier, later, how many frames apart): by their places, each the nearest of the other on its side."""
    reaching_back = defaultdict[str, list[tuple[int, int]]](list)
    for place, clip in enumerate(clips):
        for offset, frame in clip.frames.items():
            if offset <= 0:
                reaching_back[frame.key].append((offset, place))
    after, before = dict[int, tuple[int, int]](), dict[int, tuple[int, int]]()
    for place, clip in enumerate(clips):
        found = (
            (offset - behind, other)
            for offset, frame in clip.frames.items()
            if offset > 0
            for behind, other in reaching_back.get(frame.key, ())
        )
        for distance, other in found:
            after[place] = min(after.get(place, (distance, other)), (distance, other))
            before[other] = min(before.get(other, (distance, place)), (distance, place))
    for earlier, (distance, later) in after.items():
        if before[later] == (distance, earlier):
            yield earlier, later, distance


def _label_beyond(earlier: Clip, later: Clip) -> Label | None:
    """The later one's label map, where the labels of both can be fused."""
    if earlier.group != later.group or earlier.label is None or later.label is None:
        return None
    try:
        is_alike = earlier.frames[0].size() == later.frames[0].size()
    except InputError:
        return None
    return later.label if is_alike else None
