"""Any layout: a small YAML file says by which pattern frames and labels are named, and which classes there are."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from jobs.yaml_files import parse_yaml
from propagate.data.classes import ClassTable, builtin_tables, load_classes
from propagate.datasets.base import DatasetOptions, refuse_unknown_split
from propagate.datasets.files import FileDataset
from propagate.datasets.sequence import Entry
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError

_TOKEN = re.compile(r"(\{[^{}]*\}|\*)")
_PLACEHOLDERS = {"split": "[^/]+", "sequence": "[^/]+", "frame": "(?<![0-9])[0-9]+(?![0-9])"}
_HOLDS = ("label_ids", "train_ids")
_SAFE = frozenset("._-")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a layout file says.

    `frames` and `labels` are patterns of paths below the root. ``{split}``, ``{sequence}``, ``{frame}`` (a whole
    run of digits) and ``*`` (anything) each stand for a part of one folder's or file's name, the longest that fits.
    """

    frames: str
    labels: str
    classes: ClassTable
    labels_hold: str = "label_ids"


def load_layout(path: Path) -> Layout:
    """A layout from its YAML file. Raises: DatasetError: not readable, a field missing, unknown or of no use."""
    try:
        data = parse_yaml(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: the layout file cannot be read ({error.strerror}); check --layout") from None
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None
    known = [f.name for f in fields(Layout)]
    if not isinstance(data, dict):
        raise DatasetError(f"{path}: expected fields, one a line: {', '.join(known)}")
    unknown = [str(name) for name in data if name not in known]
    if unknown:
        raise DatasetError(f"{path}: unknown field {', '.join(unknown)}; a layout has {', '.join(known)}")
    lacking = [name for name in ("frames", "labels", "classes") if name not in data]
    if lacking:
        raise DatasetError(f"{path}: lacks {', '.join(lacking)}; a layout has {', '.join(known)}")
    for name in ("frames", "labels"):
        _check_pattern(data[name], f"{path}: {name}")
    if set(_placeholders(data["frames"])) != set(_placeholders(data["labels"])):
        raise DatasetError(
            f"{path}: frames and labels must have the same placeholders, so that a label finds its frame: "
            f"'{data['frames']}' and '{data['labels']}'"
        )
    if data.get("labels_hold", _HOLDS[0]) not in _HOLDS:
        raise DatasetError(f"{path}: labels_hold is '{data['labels_hold']}', expected {' or '.join(_HOLDS)}")
    return Layout(**data | {"classes": _classes(data["classes"], path)})


class Folder(FileDataset):
    """Frames and labels named by the patterns of a layout file; offsets count the frames of a sequence.

    Raises: DatasetError: no usable layout file, no such root, an unknown split.
    """

    def __init__(self, options: DatasetOptions) -> None:
        if options.layout is None:
            raise DatasetError(
                f"{options.root}: --dataset folder needs --layout FILE, a YAML file with frames, labels and classes"
            )
        self._layout = load_layout(options.layout)
        self.classes = self._layout.classes
        super().__init__(Tree(options.root), options.split, max_gap=options.max_gap)
        if not self._label_paths:
            splits = {names.get("split", "") for _, names in _find(self._tree, self._layout.labels, {})}
            if splits:
                refuse_unknown_split(options, sorted(splits))
            raise DatasetError(
                f"{options.root}: frames without labels: no file fits '{self._layout.labels}'; correct labels in "
                f"{options.layout}"
            )

    @cached_property
    def _label_paths(self) -> list[tuple[str, Mapping[str, str]]]:
        return list(_find(self._tree, self._layout.labels, {"split": self._split}))

    @cached_property
    def _frames(self) -> list[Entry]:
        found = _find(self._tree, self._layout.frames, {"split": self._split})
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
            key=_safe(frame if sequence is None else f"{sequence}_{frame}"),
            group=_safe(sequence or self._split),
            sequence=sequence or self._split,
            number=int(frame),
            path=path,
            holds_train_ids=self._layout.labels_hold == "train_ids",
        )


def _safe(name: str) -> str:
    """A name that can be a file's on any system: other characters than '.', '_', '-' and the letters, marks and digits
    of any script become '-', and so does a first '.'. However its accents are written, they come out composed.
    """
    composed = unicodedata.normalize("NFC", name)
    safe = "".join(c if c in _SAFE or unicodedata.category(c)[0] in "LMN" else "-" for c in composed)
    return re.sub(r"^\.", "-", safe)


def _classes(value: object, layout: Path) -> ClassTable:
    if isinstance(value, Mapping):
        return ClassTable.from_json(value, where=f"{layout}: classes")
    if not isinstance(value, str):
        raise DatasetError(f"{layout}: classes is {value!r}, expected a table's name, a YAML file, or a table itself")
    return load_classes(value if value in builtin_tables() else layout.parent / value)


def _placeholders(pattern: str) -> list[str]:
    return [token[1:-1] for token in _TOKEN.findall(pattern) if token != "*"]


def _check_pattern(pattern: object, where: str) -> None:
    """Raise DatasetError unless it is a pattern of paths below the root, with a frame number in it."""
    if not isinstance(pattern, str) or {"", ".", ".."} & set(pattern.split("/")):
        raise DatasetError(f"{where} is {pattern!r}, expected a path below the root such as images/{{frame}}.png")
    unknown = [name for name in _placeholders(pattern) if name not in _PLACEHOLDERS]
    if unknown or re.search("[{}]", _TOKEN.sub("", pattern)):
        raise DatasetError(
            f"{where}: unknown placeholder in '{pattern}'; there are {{split}}, {{sequence}}, {{frame}} and *"
        )
    if "frame" not in _placeholders(pattern):
        raise DatasetError(f"{where}: '{pattern}' needs {{frame}}, the frame's number")


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
    for token in _TOKEN.split(segment):
        name = token[1:-1]
        if token == "*":
            parts.append("[^/]*")
        elif not token.startswith("{"):
            parts.append(re.escape(token))
        elif name in names:
            parts.append(re.escape(names[name]))
        elif f"(?P<{name}>{_PLACEHOLDERS[name]})" in parts:
            parts.append(f"(?P={name})")
        else:
            parts.append(f"(?P<{name}>{_PLACEHOLDERS[name]})")
    return re.compile("".join(parts))
