"""Class tables: which label ids a data set has, what they are called, and which of them are trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jobs.registry import meant
from jobs.yaml_files import parse_yaml
from propagate.errors import DatasetError

IGNORE_TRAIN_ID = 255


@dataclass(frozen=True, kw_only=True)
class LabelClass:
    """One class: its label id (0…255), name, train id (255: not trained) and colour (r, g, b)."""

    id: int
    name: str
    train_id: int
    color: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """The classes of a data set. Label maps hold label ids; train ids live inside training and metrics only."""

    name: str
    ignore_id: int
    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        ids = [c.id for c in self.classes]
        if len(set(ids)) != len(ids) or not all(0 <= i <= 255 for i in ids):
            raise DatasetError(f"class table '{self.name}': label ids must be distinct and within 0…255: {ids}")
        if self.ignore_id not in ids:
            raise DatasetError(f"class table '{self.name}': ignore_id {self.ignore_id} is none of its ids {ids}")
        if not all(0 <= c.train_id <= 255 for c in self.classes):
            found = [c.train_id for c in self.classes]
            raise DatasetError(
                f"class table '{self.name}': train ids must be within 0…255, 255 where not trained: {found}"
            )
        if self.train_id_of[self.ignore_id] != IGNORE_TRAIN_ID:
            raise DatasetError(f"class table '{self.name}': the ignored id {self.ignore_id} must have train_id 255")
        if len({c.name for c in self.classes}) != len(self.classes):
            raise DatasetError(f"class table '{self.name}': names must differ: {[c.name for c in self.classes]}")
        trained = {c.train_id for c in self.classes} - {IGNORE_TRAIN_ID}
        if not trained or trained != set(range(len(trained))):
            raise DatasetError(
                f"class table '{self.name}': train ids must count 0, 1, 2, … without gaps (255: not trained), "
                f"found {sorted(trained)}"
            )

    @cached_property
    def train_id_of(self) -> np.ndarray:
        """[256] uint8: label id -> train id; 255 where an id is unknown or not trained."""
        table = np.full(256, IGNORE_TRAIN_ID, np.uint8)
        for c in self.classes:
            table[c.id] = c.train_id
        return table

    @cached_property
    def id_of_train_id(self) -> np.ndarray:
        """[256] int16: train id -> the first label id that has it; 255 -> the ignored id; -1 where unknown."""
        table = np.full(256, -1, np.int16)
        for c in reversed(self.classes):
            table[c.train_id] = c.id
        table[IGNORE_TRAIN_ID] = self.ignore_id
        return table

    @cached_property
    def colors(self) -> tuple[np.ndarray, np.ndarray]:
        """The colours of label maps that hold colours, as red·2¹⁶ + green·2⁸ + blue, ascending, and their label ids.

        Of several classes with one colour it is the trained one's, or, where none is, the ignored id's.
        Raises: DatasetError where several trained classes have it.
        """
        of_color: dict[int, list[LabelClass]] = {}
        for c in self.classes:
            of_color.setdefault(int.from_bytes(bytes(c.color)), []).append(c)
        ids = []
        for code in sorted(of_color):
            trained = [c for c in of_color[code] if c.train_id != IGNORE_TRAIN_ID]
            if len(trained) > 1:
                raise DatasetError(
                    f"class table '{self.name}': {' and '.join(c.name for c in trained)} have the color "
                    f"{list(trained[0].color)}, so that label maps of colors cannot tell them apart; change one"
                )
            others = sorted(of_color[code], key=lambda c: c.id != self.ignore_id)
            ids.append((trained or others)[0].id)
        return np.array(sorted(of_color), np.uint32), np.array(ids, np.uint8)

    @cached_property
    def palette(self) -> np.ndarray:
        """[256,3] uint8: label id -> RGB; black where an id is unknown."""
        table = np.zeros((256, 3), np.uint8)
        for c in self.classes:
            table[c.id] = c.color
        return table

    @cached_property
    def train_names(self) -> tuple[str, ...]:
        """The names of the trained classes, in the order of their train ids."""
        names = {c.train_id: c.name for c in reversed(self.classes) if c.train_id != IGNORE_TRAIN_ID}
        return tuple(names[i] for i in range(len(names)))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ignore_id": self.ignore_id,
            "classes": [
                {"id": c.id, "name": c.name, "train_id": c.train_id, "color": list(c.color)} for c in self.classes
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "class table") -> "ClassTable":
        """A table from plain values, as the YAML files and manifests hold it. Raises: DatasetError."""
        try:
            return cls(
                name=str(data["name"]),
                ignore_id=int(data["ignore_id"]),
                classes=tuple(_label_class(c) for c in data["classes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else error
            raise DatasetError(
                f"{where}: {what}; a class table needs name, ignore_id and classes, "
                "each with id, name, train_id and color [r, g, b]"
            ) from None
        except DatasetError as error:
            raise DatasetError(f"{where}: {error}") from None


def _label_class(data: Mapping[str, Any]) -> LabelClass:
    red, green, blue = _color(data["color"])
    return LabelClass(
        id=int(data["id"]), name=str(data["name"]), train_id=int(data["train_id"]), color=(red, green, blue)
    )


def _color(values: Sequence[int]) -> list[int]:
    if len(values) != 3 or not all(0 <= int(v) <= 255 for v in values):
        raise ValueError(f"a color has three values within 0…255, found {values}")
    return [int(v) for v in values]


def builtin_tables() -> list[str]:
    """The names of the class tables that come with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _tables().iterdir() if p.name.endswith(".yaml"))


def _tables() -> Any:
    return resources.files("propagate") / "tables"


def load_classes(name_or_path: str | Path) -> ClassTable:
    """A class table that comes with the package, by name, or one from a YAML file, which may be a layout file.

    Raises: DatasetError.
    """
    name = str(name_or_path)
    if name in builtin_tables():
        return _builtin_table(name)
    try:
        text = Path(name).read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{name}: no such class table ({error.strerror}); give a YAML file or one of {', '.join(builtin_tables())}"
            f"{meant(Path(name).name, builtin_tables())}"
        ) from None
    try:
        data = parse_yaml(text)
    except ValueError as error:
        raise DatasetError(f"{name}: {error}") from None
    if isinstance(data, dict) and isinstance(data.get("classes"), str | Mapping):
        return classes_of_layout(data["classes"], Path(name))
    return ClassTable.from_json(data, where=name)


@cache
def _builtin_table(name: str) -> ClassTable:
    return ClassTable.from_json(parse_yaml((_tables() / f"{name}.yaml").read_bytes()), where=name)


def classes_of_layout(value: object, layout: Path) -> ClassTable:
    """The class table that a layout file names, or holds, under `classes`. Raises: DatasetError."""
    if isinstance(value, Mapping):
        return ClassTable.from_json(value, where=f"{layout}: classes")
    if not isinstance(value, str):
        raise DatasetError(f"{layout}: classes is {value!r}, expected a table's name, a YAML file, or a table itself")
    return load_classes(value if value in builtin_tables() else layout.parent / value)
