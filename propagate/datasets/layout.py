"""Layout files: YAML that says what a data set's label maps mean, and by which patterns its files are named."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jobs.yaml_files import parse_yaml
from propagate.data.classes import ClassTable, classes_of_layout
from propagate.data.clip import HOLDS, LABEL_IDS
from propagate.datasets.base import DatasetOptions
from propagate.errors import DatasetError

TOKEN = re.compile(r"(\{[^{}]*\}|\*)")
LAYOUT_FILE = "layout.yaml"
PLACEHOLDERS = {"split": "[^/]+", "sequence": "[^/]+", "frame": "(?<![0-9])[0-9]+(?![0-9])"}


@dataclass(frozen=True, kw_only=True)
class LabelForm:
    """What label maps mean: their class table, and which of `propagate.data.clip.HOLDS` they hold."""

    classes: ClassTable
    labels_hold: str = LABEL_IDS


@dataclass(frozen=True, kw_only=True)
class Layout(LabelForm):
    """What the layout file of folders says.

    `frames` and `labels` are patterns of paths below the root. ``{split}``, ``{sequence}``, ``{frame}`` (a whole
    run of digits) and ``*`` (anything) each stand for a part of one folder's or file's name, the longest that fits.
    """

    frames: str
    labels: str


def load_layout(path: Path) -> Layout:
    """The layout of folders in a YAML file. Raises: DatasetError: unreadable, a field missing, unknown or of no use."""
    patterns = ("frames", "labels")
    data = _fields(path, patterns)
    for name in patterns:
        _check_pattern(data[name], f"{path}: {name}")
    if set(placeholders(data["frames"])) != set(placeholders(data["labels"])):
        raise DatasetError(
            f"{path}: frames and labels must have the same placeholders, so that a label finds its frame: "
            f"'{data['frames']}' and '{data['labels']}'"
        )
    return Layout(**data)


def load_label_form(path: Path) -> LabelForm:
    """What a layout file without patterns says. Raises: DatasetError, as `load_layout` does."""
    return LabelForm(**_fields(path, ()))


def layout_file(options: DatasetOptions, dataset: str, needed: str) -> Path:
    """The one that is asked for, or ROOT/layout.yaml. Raises: DatasetError where there is neither.

    needed: what it has to say, for messages.
    """
    own = options.root / LAYOUT_FILE
    if options.layout is None and not own.is_file():
        raise DatasetError(
            f"{options.root}: --dataset {dataset} needs --layout FILE or {own}, a YAML file with {needed}"
        )
    return options.layout or own


def has_layout(options: DatasetOptions, *, with_patterns: bool) -> bool:
    """Whether there is a layout file, and it has a pattern, or none. Raises: DatasetError: one that cannot be read."""
    own = options.root / LAYOUT_FILE
    if options.layout is None and not own.is_file():
        return False
    data = _parsed(options.layout or own)
    return isinstance(data, dict) and ("frames" in data or "labels" in data) == with_patterns


def _parsed(path: Path) -> Any:
    """What a layout file holds. Raises: DatasetError."""
    try:
        return parse_yaml(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: the layout file cannot be read ({error.strerror}); check --layout") from None
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def _fields(path: Path, patterns: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a layout file, which has these patterns. Raises: DatasetError."""
    data = _parsed(path)
    known = (*patterns, *(field.name for field in fields(LabelForm)))
    if not isinstance(data, dict):
        raise DatasetError(f"{path}: expected fields, one a line: {', '.join(known)}")
    unknown = [str(name) for name in data if name not in known]
    if unknown:
        raise DatasetError(f"{path}: unknown field {', '.join(unknown)}; a layout has {', '.join(known)}")
    lacking = [name for name in (*patterns, "classes") if name not in data]
    if lacking:
        raise DatasetError(f"{path}: lacks {', '.join(lacking)}; a layout has {', '.join(known)}")
    if data.get("labels_hold", LABEL_IDS) not in HOLDS:
        raise DatasetError(
            f"{path}: labels_hold is '{data['labels_hold']}', expected {', '.join(HOLDS[:-1])} or {HOLDS[-1]}"
        )
    return data | {"classes": classes_of_layout(data["classes"], path)}


def placeholders(pattern: str) -> list[str]:
    """The names of the placeholders in a pattern."""
    return [token[1:-1] for token in TOKEN.findall(pattern) if token != "*"]


def _check_pattern(pattern: object, where: str) -> None:
    """Raise DatasetError unless it is a pattern of paths below the root, with a frame number in it."""
    if not isinstance(pattern, str) or {"", ".", ".."} & set(pattern.split("/")):
        raise DatasetError(f"{where} is {pattern!r}, expected a path below the root such as images/{{frame}}.png")
    unknown = [name for name in placeholders(pattern) if name not in PLACEHOLDERS]
    if unknown or re.search("[{}]", TOKEN.sub("", pattern)):
        raise DatasetError(
            f"{where}: unknown placeholder in '{pattern}'; there are {{split}}, {{sequence}}, {{frame}} and *"
        )
    if "frame" not in placeholders(pattern):
        raise DatasetError(f"{where}: '{pattern}' needs {{frame}}, the frame's number")
