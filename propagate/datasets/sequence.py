"""Files of frames and labels, as their names place them in recordings, to clips."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from propagate.data.clip import LABEL_IDS, Clip, Label
from propagate.data.file_frame import FileFrame
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError

LARGEST_DEFAULT_GAP = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The file of a frame or of a label map, as its name places it; `path` lies within the tree.

    A label map's key, sequence and number are those of its frame.
    """

    key: str
    group: str
    sequence: str
    number: int
    path: str
    holds: str = LABEL_IDS


@dataclass(frozen=True)
class Recording:
    """The frames of one recording, by frame number."""

    name: str
    frames: dict[int, Entry] = field(default_factory=dict)

    @cached_property
    def numbers(self) -> list[int]:
        return sorted(self.frames)

    @cached_property
    def smallest_step(self) -> int | None:
        """The smallest difference of neighbouring numbers; None for a single frame."""
        steps = (b - a for a, b in pairwise(self.numbers))
        return min(steps, default=None)


# (recording, annotated number, direction ±1, how many neighbours at most) -> the numbers of the neighbours, nearest
# first, and, where the next one should be there but is missing, why that is known.
Walk = Callable[[Recording, int, int, int], tuple[Sequence[int], str | None]]


def make_clips(
    tree: Tree,
    split: str,
    *,
    frames: Iterable[Entry],
    labels: Iterable[Entry],
    walk: Walk,
    num_neighbours: int,
) -> list[Clip]:
    """A clip per label map, sorted by key; files are examined only where a clip uses them.

    Raises: DatasetError: two files for one frame, or no annotated frame at all.
    """
    recordings = _recordings(tree, frames)
    ordered = sorted(_without_twins(tree, labels), key=lambda label: label.key)
    clips = [
        _clip(tree, split, recordings.get((label.group, label.sequence)), label, walk, num_neighbours)
        for label in ordered
    ]
    if not any(clip.frames for clip in clips):
        raise DatasetError(
            f"{tree.root}: labels without frames: split '{split}' has {len(ordered)} label maps, but none of their "
            f"frames is there, such as {ordered[0].key} for {tree.locate(ordered[0].path)}; add the frames"
        )
    return clips


def find_labels(tree: Tree, labels: Iterable[Entry], keys: Iterable[str]) -> dict[str, Label]:
    """The label maps of these frames, without those that have none. Raises: DatasetError: two files for one frame."""
    by_key = {label.key: label for label in _without_twins(tree, labels)}
    return {key: _label(tree, by_key[key]) for key in keys if key in by_key}


def walk_steps(
    recording: Recording, start: int, direction: int, limit: int, *, root: Path, max_gap: int | None
) -> tuple[Sequence[int], None]:
    """The next frames of the recording, as far as no step between their numbers is larger than `max_gap`.

    By default that is the recording's smallest step. Nothing is ever known to be missing: a larger step is the end.

    Raises: DatasetError where the default would be too far apart to propagate.
    """
    if max_gap is None:
        max_gap = recording.smallest_step or 1
        if max_gap > LARGEST_DEFAULT_GAP:
            raise DatasetError(
                f"{root}: the frames of sequence '{recording.name}' are at least {max_gap} numbers apart, too far to "
                f"propagate (more than {LARGEST_DEFAULT_GAP}); add the frames between them, or allow it with "
                f"--max-gap {max_gap}"
            )
    index = bisect_left(recording.numbers, start)
    if direction > 0:
        outwards = recording.numbers[index + 1 : index + 1 + limit]
    else:
        outwards = recording.numbers[max(0, index - limit) : index][::-1]
    reached, last = list[int](), start
    for number in outwards:
        if abs(number - last) > max_gap:
            break
        reached.append(number)
        last = number
    return reached, None


def _clip(tree: Tree, split: str, recording: Recording | None, label: Entry, walk: Walk, num_neighbours: int) -> Clip:
    entries: dict[int, Entry] = {}
    missing: dict[int, str] = {}
    if recording is None or label.number not in recording.frames:
        missing[0] = f"{tree.locate(label.path)}: its frame {label.key} is missing; add the frame, or remove the label"
    else:
        entries[0] = recording.frames[label.number]
        for direction in (-1, 1) if num_neighbours else ():
            numbers, reason = walk(recording, label.number, direction, num_neighbours)
            entries |= {direction * (k + 1): recording.frames[number] for k, number in enumerate(numbers)}
            if reason is not None:
                missing[direction * (len(numbers) + 1)] = reason
    return Clip(
        key=label.key,
        split=split,
        group=label.group,
        frames={offset: FileFrame(e.key, tree.resource(e.path)) for offset, e in sorted(entries.items())},
        label=_label(tree, label),
        missing=missing,
    )


def _label(tree: Tree, label: Entry) -> Label:
    return Label(tree.resource(label.path), label.holds)


def _recordings(tree: Tree, frames: Iterable[Entry]) -> dict[tuple[str, str], Recording]:
    recordings: dict[tuple[str, str], Recording] = {}
    for frame in _without_twins(tree, frames):
        place = (frame.group, frame.sequence)
        recordings.setdefault(place, Recording(frame.sequence)).frames[frame.number] = frame
    return recordings


def _without_twins(tree: Tree, entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries; raises DatasetError at the second file with one key, or with one number in one sequence, and at a
    name that no key can have.
    """
    seen: dict[object, Entry] = {}
    for entry in entries:
        if not entry.key.isprintable() and any("\ud800" <= c <= "\udfff" for c in entry.key):
            path = tree.locate(entry.path).encode(errors="backslashreplace").decode()
            raise DatasetError(f"{path}: its name is not written in UTF-8; rename it")
        for identity in (entry.key, (entry.group, entry.sequence, entry.number)):
            if identity in seen:
                raise DatasetError(
                    f"{tree.locate(entry.path)}: names the same frame ({entry.key}) as "
                    f"{tree.locate(seen[identity].path)}; keep one of them, or rename it"
                )
            seen[identity] = entry
        yield entry
