"""The categories of COCO's files: classes by ids that may be any numbers."""

import json
from typing import Any

from propagate.data.classes import ClassTable
from propagate.formats.annotations import Color
from propagate.formats.class_tables import require_names, written_classes
from propagate.formats.values import member, members

_MOST_CATEGORIES = 32_767


class Categories:
    """Those that a file declares, in its order. Raises: ValueError.

    colors: of each class's name, where it has one.
    """

    def __init__(self, data: Any) -> None:
        names: list[str] = []
        self._index: dict[int, int] = {}
        colors: list[Color | None] = []
        for place, category in members(data, "categories", _MOST_CATEGORIES, "the file"):
            number = member(category, "id", int, place)
            if number in self._index:
                raise ValueError(f"{place}: its id {number} is that of '{names[self._index[number]]}' too; change one")
            self._index[number] = len(names)
            names.append(member(category, "name", str, place))
            colors.append(_color(category.get("color")))
        require_names(names)
        self.colors: dict[str, Color | None] = dict(zip(names, colors, strict=True))

    def index(self, number: int, place: str) -> int:
        """The place of a category among those that are declared. Raises: ValueError."""
        if number not in self._index:
            raise ValueError(f"{place}: category_id is {number}, and no category has that id; export it again")
        return self._index[number]


def _color(value: object) -> Color | None:
    if isinstance(value, list) and len(value) == 3 and all(type(each) is int and 0 <= each <= 255 for each in value):
        red, green, blue = value
        return red, green, blue
    return None


def category_ids(classes: ClassTable) -> dict[int, int]:
    """The id of each label id's category: 0 is left free, which tools take for what nobody labelled."""
    return {each.id: each.id + 1 for each in written_classes(classes)}


def coco_file(images: list[str], annotations: list[str], classes: ClassTable) -> bytes:
    """A JSON file of images and annotations, each as JSON already, and of a table's classes as categories."""
    ids = category_ids(classes)
    categories = [
        {"id": ids[each.id], "name": each.name, "supercategory": "", "isthing": 0, "color": list(each.color)}
        for each in written_classes(classes)
    ]
    lists = {"images": images, "annotations": annotations, "categories": [json.dumps(each) for each in categories]}
    text = ",\n".join(f'"{name}": [\n' + ",\n".join(listed) + "\n]" for name, listed in lists.items())
    return f"{{{text}}}\n".encode()
