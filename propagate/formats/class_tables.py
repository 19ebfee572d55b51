"""Class tables of what annotations declare, and from one to the other."""

from collections.abc import Mapping, Sequence

import numpy as np
import yaml

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable, LabelClass
from propagate.formats.annotations import Color

MOST_CLASSES = 255  # label ids are bytes, and one is for what nobody labelled
CLASS_FILE = "classes.yaml"
_IGNORE_ID = 255
_MOST_LETTERS = 200


def voc_color(index: int) -> Color:
    """The colour of a class in the palette of PASCAL VOC, by its index 0…255.

    Reference: VOC2012 development kit, section 9.5: bits 0, 3, 6 of the index are the uppermost ones of red; 1, 4, 7 of
    green; 2, 5 of blue.
    """
    red, green, blue = (
        sum(((index >> (3 * level + channel)) & 1) << (7 - level) for level in range(3)) for channel in range(3)
    )
    return red, green, blue


def require_names(names: Sequence[str]) -> None:
    """Raise ValueError unless each can be the name of a class, once."""
    for name in names:
        if not name or not name.isprintable() or len(name) > _MOST_LETTERS:
            raise ValueError(f"{name!r:.100} cannot be a class's name; it needs 1 to {_MOST_LETTERS} printable letters")
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ValueError(f"declares the class '{twice}' twice; rename one of them")


def declared_table(name: str, classes: Mapping[str, Color | None]) -> ClassTable:
    """A table of declared classes: ids and train ids count them, and 255 is for what nobody labelled.

    Raises: ValueError where there is none, or more than label ids.
    """
    if not 0 < len(classes) <= MOST_CLASSES:
        raise ValueError(
            f"declares {len(classes)} classes, expected 1 to {MOST_CLASSES}; give a table of those that count with "
            "--classes"
        )
    ignored = "unlabelled"
    while ignored in classes:
        ignored += "_"
    table = [
        LabelClass(id=number, name=each, train_id=number, color=color or voc_color(number + 1))
        for number, (each, color) in enumerate(classes.items())
    ]
    table.append(LabelClass(id=_IGNORE_ID, name=ignored, train_id=IGNORE_TRAIN_ID, color=(0, 0, 0)))
    return ClassTable(name=name, ignore_id=_IGNORE_ID, classes=tuple(table))


def ids_of(classes: Sequence[str], table: ClassTable) -> np.ndarray:
    """[len(classes) + 1] int16: the label id of each declared class, -1 where the table lacks it; last, the ignored id,
    so that NOBODY finds it.
    """
    ids = {each.name: each.id for each in table.classes}
    return np.array([*(ids.get(name, -1) for name in classes), table.ignore_id], np.int16)


def written_classes(table: ClassTable) -> list[LabelClass]:
    """The classes that annotations hold: all but the ignored one, whose pixels they leave out."""
    return [each for each in table.classes if each.id != table.ignore_id]


def table_file(table: ClassTable) -> bytes:
    """A class table as a YAML file."""
    return yaml.safe_dump(table.to_json(), allow_unicode=True, sort_keys=False, default_flow_style=None).encode()
