"""LabelMe: a JSON file beside, or for, each image.

Read: polygons, rectangles (two corners), circles (the centre, and a point on it) and masks (a box and a PNG of it);
those listed later above. `__ignore__` is what nobody labelled. Not read: points and lines, groups, flags, the image
within the JSON file. Written: a polygon around each region, those within others after them; labels.txt.

Reference: labelme's own documentation and examples; `labelme --labels labels.txt`.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from jobs.image_limit import open_image
from propagate.data.classes import ClassTable
from propagate.data.encoded import checked_header
from propagate.data.sample import Sample
from propagate.errors import DatasetError, InputError
from propagate.export import File
from propagate.formats.annotations import NOBODY, AnnotatedFrame, Annotations, Color, refused
from propagate.formats.areas import MOST_SHAPES, Area, LabelledArea, drawn, mask_of_polygons
from propagate.formats.class_tables import require_names, written_classes
from propagate.formats.outlines import LEAST_IOU, outlines
from propagate.formats.source import Source
from propagate.formats.values import member, members, numbers
from propagate.formats.writing import AnnotationFormat, AnnotationWriter

_IGNORE, _LABELS = "__ignore__", "labels.txt"
_AREAS = ("polygon", "rectangle", "circle", "mask", "oriented_rectangle")


def read_labelme(source: Source) -> Annotations:
    """What LabelMe's JSON files hold; classes in the order of labels.txt, where there is one, else by name.

    Raises: DatasetError, InputError.
    """
    paths = [path for path in source.files if path.lower().endswith(".json")]
    if source.named is not None:
        paths = [source.named]
    read: list[tuple[str, str, tuple[int, int], list[tuple[str, str, Any]]]] = []
    passed_over: Counter[str] = Counter()
    for path in paths:
        with refused(source.tree.locate(path)):
            read.append((path, *_read(source.read_json(path), passed_over)))
    if not read:
        raise DatasetError(f"{source.path}: no JSON file of LabelMe here; name the folder that holds some")
    used = sorted({label for *_, shapes in read for label, _, _ in shapes})
    classes: dict[str, Color | None] = dict.fromkeys(each for each in (*_listed(source), *used) if each != _IGNORE)
    with refused(str(source.path)):
        require_names(list(classes))
    index = {_IGNORE: NOBODY} | {name: number for number, name in enumerate(classes)}
    frames = [
        AnnotatedFrame(
            name=name,
            where=source.tree.locate(path),
            place=f"image {name}",
            size=size,
            draw=partial(drawn, [LabelledArea(index[label], at, partial(_area, shape)) for label, at, shape in shapes]),
            folders=(str(PurePosixPath(path).parent),),
        )
        for path, name, size, shapes in read
        if shapes
    ]
    return Annotations(classes=classes, frames=frames, passed_over=passed_over)


def _listed(source: Source) -> list[str]:
    if _LABELS not in source.files:
        return []
    with refused(source.tree.locate(_LABELS)):
        return [line.strip() for line in source.read(_LABELS).decode().splitlines() if line.strip()]


def _read(data: Any, passed_over: Counter[str]) -> tuple[str, tuple[int, int], list[tuple[str, str, Any]]]:
    """The image's name and size, and label, place and fields of each area. Raises: ValueError."""
    name = member(data, "imagePath", str, "the file")
    size = member(data, "imageHeight", int, "the file"), member(data, "imageWidth", int, "the file")
    shapes = []
    for place, shape in members(data, "shapes", MOST_SHAPES, "the file"):
        label, kind = member(shape, "label", str, place), shape.get("shape_type") or "polygon"
        if kind in _AREAS:
            shapes.append((label, place, shape | {"shape_type": kind}))
        else:
            passed_over[f"shapes of the kind {kind!s:.40}"] += 1
    return name, size, shapes


def _area(shape: dict[str, Any], size: tuple[int, int]) -> Area:
    """The pixels of a shape. Raises: ValueError."""
    points = [numbers(each, "a point") for each in member(shape, "points", list, "the shape")]
    if any(len(each) != 2 for each in points):
        raise ValueError("a point of other than two coordinates; draw it again")
    kind = shape["shape_type"]
    if kind in ("polygon", "oriented_rectangle"):
        return mask_of_polygons([[each for point in points for each in point]], size)
    if len(points) != 2:
        raise ValueError(f"a {kind} of {len(points)} points, expected 2; draw it again")
    (x, y), (other_x, other_y) = points
    box = mask_of_polygons([[x, y, other_x, y, other_x, other_y, x, other_y]], size)  # also checks the points
    if kind == "rectangle":
        return box
    if kind == "circle":
        return _circle(x, y, float(np.hypot(other_x - x, other_y - y)), size)
    return _mask(member(shape, "mask", str, "the shape"), [int(each) for each in (x, y, other_x, other_y)], size)


def _circle(x: float, y: float, radius: float, size: tuple[int, int]) -> Area:
    """The pixels whose centre is in it."""
    top, left = max(0, int(y - radius)), max(0, int(x - radius))
    rows = np.arange(top, min(size[0], int(y + radius) + 1))[:, None] + 0.5
    columns = np.arange(left, min(size[1], int(x + radius) + 1))[None] + 0.5
    return Area(top, left, (rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def _mask(text: str, box: list[int], size: tuple[int, int]) -> Area:
    """A PNG, in base64, of the pixels from left, top to right, bottom, which belong to it all. Raises: ValueError."""
    left, top, right, bottom = box
    height, width = bottom - top + 1, right - left + 1
    where = "its mask"
    data = base64.b64decode(text, validate=True)
    try:
        header = checked_header(data, where)
        if (header.format, header.height, header.width) != ("PNG", height, width):
            raise ValueError(f"a mask of {header.height}x{header.width} in a box of {height}x{width}; draw it again")
        if top < 0 or left < 0 or bottom >= size[0] or right >= size[1]:
            raise ValueError(f"a mask up to row {bottom}, column {right}, outside of an image of {size[0]}x{size[1]}")
        with open_image(BytesIO(data), where, InputError, formats=["PNG"]) as image:
            return Area(top, left, np.array(image.convert("L")) > 0)
    except (InputError, OSError, SyntaxError) as error:
        raise ValueError(f"{error}; draw it again") from None


class LabelMeWriter(AnnotationWriter):
    """KEY and KEY.json, side by side, and labels.txt."""

    def __init__(self, split: str, classes: ClassTable) -> None:
        super().__init__(split, classes)
        self._names = {each.id: each.name for each in classes.classes} | {classes.ignore_id: _IGNORE}
        self._both, self._either = np.zeros(256, np.int64), np.zeros(256, np.int64)

    @property
    def exactness(self) -> str:
        seen = [each.id for each in written_classes(self.classes) if self._either[each.id]]
        if not seen:
            return "polygons: no pixel is labelled"
        ious = self._both[seen] / self._either[seen]
        least = int(ious.argmin())
        return (
            f"polygons: IoU of each class with the label maps {LEAST_IOU} or more, the least is {ious[least]:.4f} "
            f"({self._names[seen[least]]})"
        )

    def files(self, sample: Sample) -> Iterator[File]:
        file, frame = self.frame(sample)
        yield file, frame
        self.label_ids(sample)  # refuses unknown ones
        polygons, overlap = outlines(sample.label, self.classes.ignore_id)
        self._both += overlap.both
        self._either += overlap.either
        shapes = [
            {
                "label": self._names[label_id],
                "points": points.tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for label_id, points, _ in polygons
        ]
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": file,
            "imageData": None,
            "imageHeight": sample.size[0],
            "imageWidth": sample.size[1],
        }
        yield f"{sample.key}.json", json.dumps(content, ensure_ascii=False).encode()

    def rest(self) -> Iterator[File]:
        names = [_IGNORE, *(each.name for each in written_classes(self.classes)), ""]
        yield _LABELS, "\n".join(names).encode()
        yield from super().rest()


LABELME = AnnotationFormat(LabelMeWriter)
