"""Any layout: a small YAML file says by which pattern frames and labels are named, and which classes there are."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from propagate.datasets.base import DatasetOptions, refuse_unknown_split, say_without_effect
from propagate.datasets.files import FileDataset
from propagate.datasets.layout import PLACEHOLDERS, TOKEN, has_layout, layout_file, load_layout, placeholders
from propagate.datasets.sequence import Entry
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError

_SAFE = frozenset("._-")


class Folder(FileDataset):
    """Frames and labels named by the patterns of a layout file; offsets count the frames of a sequence.

    Raises: DatasetError: no usable layout file, no such root, an unknown split.
    """

    @classmethod
    def fits(cls, options: DatasetOptions) -> bool:
        """Whether a layout file with patterns is given, or lies in the root."""
        return has_layout(options, with_patterns=True)

    def __init__(self, options: DatasetOptions) -> None:
        layout = layout_file(options, "folder", "frames, labels and classes")
        self._layout = load_layout(layout)
        self.classes = self._layout.classes
        if "split" not in placeholders(self._layout.labels):
            say_without_effect(options, f"no {{split}} in the patterns of {layout}")
        self._file = layout
        super().__init__(Tree(options.root), options.split, max_gap=options.max_gap)
        if not self._label_paths:
            splits = {names.get("split", "") for _, names in _find(self._tree, self._layout.labels, {})}
            if splits:
                refuse_unknown_split(options, sorted(splits))
            raise DatasetError(
                f"{options.root}: frames without labels: no file fits '{self._layout.labels}'; correct labels in "
                f"{layout}"
            )

    @cached_property
    def _label_paths(self) -> list[tuple[str, Mapping[str, str]]]:
        return list(_find(self._tree, self._layout.labels, {"split": self._split}))

    @cached_property
    def _frames(self) -> list[Entry]:
        found = list(_find(self._tree, self._layout.frames, {"split": self._split}))
        if not found:
            raise DatasetError(
                f"{self._tree.root}: labels without frames: no file fits '{self._layout.frames}'; correct frames in "
                f"{self._file}"
            )
        return [self._entry(path, names) for path, names in found]

    @cached_property
    def _labels(self) -> list[Entry]:
        """The label maps under their frames' keys, also where the two write a number differently (7, 0007)."""
        keys = {(frame.sequence, frame.number): frame.key for frame in self._frames}
        entries = (self._entry(path, names) for path, names in self._label_paths)
        return [replace(e, key=keys.get((e.sequence, e.number), e.key)) for e in entries]

    def _entry(self, path: str, names: Mapping[str, str]) -> Entry:
        sequence, frame = names.get("sequence"), names["frame"]
        return Entry(
            key=safe_name(frame if sequence is None else f"{sequence}_{frame}"),
            group=safe_name(sequence or self._split),
            sequence=sequence or self._split,
            number=int(frame),
            path=path,
            holds=self._layout.labels_hold,
        )


def safe_name(name: str) -> str:
    """A name that can be a file's on any system: other characters than '.', '_', '-' and the letters, marks and digits
    of any script become '-', and so does a first '.'. However its accents are written, they come out composed.
    """
    composed = unicodedata.normalize("NFC", name)
    safe = "".join(c if c in _SAFE or unicodedata.category(c)[0] in "LMN" else "-" for c in composed)
    return re.sub(r"^\.", "-", safe)


def _find(tree: Tree, pattern: str, names: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The files that fit a pattern in which some names are given, and the names found; in order of their paths."""
    return _descend(tree, "", pattern.split("/"), names)


def _descend(
    tree: Tree, folder: str, segments: list[str], names: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, str]]]:
    segment, *deeper = segments
    regex = _segment_regex(segment, names)
    for candidate in tree.folders(folder) if deeper else tree.files(folder):
        match = regex.fullmatch(candidate)
        if match is None:
            continue
        path = f"{folder}/{candidate}" if folder else candidate
        found = {**names, **match.groupdict()}
        if deeper:
            yield from _descend(tree, path, deeper, found)
        else:
            yield path, found


def _segment_regex(segment: str, names: Mapping[str, str]) -> re.Pattern[str]:
    """What fits one folder's or file's name; a placeholder that is known, or repeated, must be the same again."""
    parts: list[str] = []
    for token in TOKEN.split(segment):
        name = token[1:-1]
        if token == "*":
            parts.append("[^/]*")
        elif not token.startswith("{"):
            parts.append(re.escape(token))
        elif name in names:
            parts.append(re.escape(names[name]))
        elif f"(?P<{name}>{PLACEHOLDERS[name]})" in parts:
            parts.append(f"(?P={name})")
        else:
            parts.append(f"(?P<{name}>{PLACEHOLDERS[name]})")
    return re.compile("".join(parts))
