"""CVAT for images 1.1: one annotations.xml, with masks and polygons of each image; what CVAT exports as a zip file.

Read: masks and polygons, those of higher z_order above, else those listed later above. Not read: boxes, lines, points,
ellipses, skeletons, tags, attributes. Written: for each frame and class, one mask.

Reference: docs.cvat.ai, XML annotation format 1.1. A mask's runs go row by row within its box, beginning with those
that are not in it.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from propagate.data.classes import ClassTable
from propagate.data.runs import mask_of_runs, runs_of_mask
from propagate.data.sample import Sample
from propagate.export import File
from propagate.formats.annotations import AnnotatedFrame, Annotations, Color, refused
from propagate.formats.areas import MOST_SHAPES, Area, LabelledArea, drawn, mask_of_polygons
from propagate.formats.class_tables import require_names, written_classes
from propagate.formats.source import Source
from propagate.formats.writing import AnnotationFormat, AnnotationWriter, box_of
from propagate.formats.xml_files import attribute, elements, whole

_MOST_IMAGES, _MOST_LABELS = 1_000_000, 32_767
_COLOR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


def read_cvat(source: Source) -> Annotations:
    """What CVAT's annotations.xml holds. Raises: DatasetError, InputError."""
    path = source.annotation_file(".xml", "annotations", "CVAT's annotations.xml")
    where = source.tree.locate(path)
    reader = _Reader(where)
    with refused(where):
        for element in elements(source.read(path), "annotations"):
            if element.tag == "label":
                reader.declare(element)
            elif element.tag == "image":
                reader.take(element)
            elif element.tag == "track":
                raise ValueError("holds tracks: CVAT for video; export it again as 'CVAT for images 1.1'")
    return Annotations(classes=reader.colors, frames=reader.frames, passed_over=reader.passed_over)


class _Reader:
    """Collects what the elements of a file say. Raises: ValueError."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._index: dict[str, int] = {}
        self.colors: dict[str, Color | None] = {}
        self.frames: list[AnnotatedFrame] = []
        self.passed_over: Counter[str] = Counter()

    def declare(self, label: Element) -> None:
        """A <label> of a task, a job or a project; the points of a skeleton have labels too, and these a parent."""
        name, color = (label.findtext("name") or "").strip(), _COLOR.fullmatch((label.findtext("color") or "").strip())
        if name and not label.findtext("parent"):
            index = self._index_of(name)
            if color is not None and index == len(self.colors) - 1:
                red, green, blue = (int(each, 16) for each in color.groups())
                self.colors[name] = red, green, blue

    def take(self, image: Element) -> None:
        """An <image> with its shapes; one without areas is not annotated."""
        name = attribute(image, "name", "an image")
        place = f"image {name:.200}"
        size = whole(image.attrib, "height"), whole(image.attrib, "width")
        shapes = []
        for number, element in enumerate(image):
            inner = f"{place}, {element.tag} {number}"
            if element.tag in ("mask", "polygon"):
                index = self._index_of(attribute(element, "label", inner))
                area = partial(_mask if element.tag == "mask" else _polygon, dict(element.attrib))
                shapes.append((whole(element.attrib, "z_order", "0"), LabelledArea(index, inner, area)))
            elif element.tag != "tag":
                self.passed_over[f"shapes of the kind {element.tag!s:.40}"] += 1
        if len(shapes) > MOST_SHAPES or len(self.frames) >= _MOST_IMAGES:
            raise ValueError(f"{place}: more than {MOST_SHAPES} shapes, or {_MOST_IMAGES} images; split the task")
        if shapes:
            ordered = [shape for _, shape in sorted(shapes, key=lambda each: each[0])]
            subset = image.get("subset")
            frame = AnnotatedFrame(
                name=name,
                where=self._where,
                place=place,
                size=size,
                draw=partial(drawn, ordered),
                folders=("images", "") if subset is None else (f"images/{subset}", "images", ""),
            )
            self.frames.append(frame)

    def _index_of(self, name: str) -> int:
        if name not in self._index:
            require_names([name])
            self._index[name] = len(self._index)
            self.colors[name] = None
            if len(self._index) > _MOST_LABELS:
                raise ValueError(f"more than {_MOST_LABELS} labels; split the task")
        return self._index[name]


def _mask(attributes: dict[str, str], size: tuple[int, int]) -> Area:
    left, top, width, height = (whole(attributes, name) for name in ("left", "top", "width", "height"))
    if not (0 <= top <= top + height <= size[0] and 0 <= left <= left + width <= size[1]):
        raise ValueError(
            f"{height}x{width} at row {top}, column {left}, outside of an image of {size[0]}x{size[1]}; export it again"
        )
    rle = attributes.get("rle", "")
    try:
        runs = [int(each) for each in rle.split(",")]
    except ValueError:
        raise ValueError(f"rle is {rle!r:.60}, expected whole numbers and commas; export it again") from None
    return Area(top, left, mask_of_runs(runs, height, width))


def _polygon(attributes: dict[str, str], size: tuple[int, int]) -> Area:
    points = attributes.get("points", "")
    try:
        pairs = [tuple(float(each) for each in pair.split(",")) for pair in points.split(";")]
    except ValueError:
        pairs = [()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"points are {points!r:.60}, expected x,y;x,y;…; export it again")
    return mask_of_polygons([[each for pair in pairs for each in pair]], size)


class CvatWriter(AnnotationWriter):
    """annotations.xml, and images/KEY."""

    def __init__(self, split: str, classes: ClassTable) -> None:
        super().__init__(split, classes)
        self._names = {each.id: each.name for each in classes.classes}
        self._images: dict[str, str] = {}

    def files(self, sample: Sample) -> Iterator[File]:
        file, frame = self.frame(sample)
        yield f"images/{file}", frame
        height, width = sample.size
        lines = [f'name={quoteattr(file)} width="{width}" height="{height}">']
        for label_id in self.label_ids(sample):
            mask = sample.label == label_id
            left, top, box_width, box_height = box_of(mask)
            runs = runs_of_mask(mask[top : top + box_height, left : left + box_width])
            lines.append(
                f'    <mask label={quoteattr(self._names[label_id])} source="auto" occluded="0" '
                f'rle="{", ".join(map(str, runs))}" left="{left}" top="{top}" width="{box_width}" '
                f'height="{box_height}" z_order="0">\n    </mask>'
            )
        self._images[file] = self.keep("\n".join(lines))

    def rest(self) -> Iterator[File]:
        labels = "".join(
            f"        <label>\n          <name>{escape(each.name)}</name>\n"
            f"          <color>#{bytes(each.color).hex()}</color>\n          <type>mask</type>\n"
            "          <attributes>\n          </attributes>\n        </label>\n"
            for each in written_classes(self.classes)
        )
        images = "".join(
            f'  <image id="{number}" {self._images[file]}\n  </image>\n'
            for number, file in enumerate(sorted(self._images))
        )
        text = (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
            f"      <name>{escape(self.split)}</name>\n      <size>{len(self._images)}</size>\n"
            f"      <mode>annotation</mode>\n      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
            f"{images}</annotations>\n"
        )
        yield "annotations.xml", text.encode()
        yield from super().rest()


CVAT = AnnotationFormat(CvatWriter)
