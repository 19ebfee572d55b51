"""PASCAL VOC's segmentations by class: SegmentationClass/NAME.png, JPEGImages/NAME.jpg, labelmap.txt for other classes.

Read: PNGs of colours, as RGB or in a palette, or of classes by their number, as grey. The last colour of the palette
(224, 224, 192), and white, are what nobody labelled, unless labelmap.txt says otherwise; `background` is a class like
any other. Not read: SegmentationObject, Annotations, ImageSets. Written: palettes, whose index is the class's number.

Reference: VOC2012 development kit, section 3.4; docs.cvat.ai, formats, segmentation mask.
"""

from collections.abc import Iterator
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable, LabelClass
from propagate.data.clip import COLORS, LABEL_IDS, Label, Resource
from propagate.data.encoded import read_header
from propagate.data.images import read_image, read_label
from propagate.data.sample import Sample
from propagate.errors import DatasetError, StoreError
from propagate.export import File
from propagate.formats.annotations import NOBODY, AnnotatedFrame, Annotations, Color, refused
from propagate.formats.class_tables import require_names, voc_color, written_classes
from propagate.formats.source import Source
from propagate.formats.writing import AnnotationFormat, AnnotationWriter

_MAPS, _OBJECTS, _FRAMES, _LABEL_MAP = "SegmentationClass", "SegmentationObject", "JPEGImages", "labelmap.txt"
_BORDER = 255  # the index of what nobody labelled
_VOIDS = (voc_color(_BORDER), (255, 255, 255))
_MOST_CLASSES = 254
_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def read_voc(source: Source) -> Annotations:
    """The label maps in SegmentationClass. Raises: DatasetError, InputError."""
    inside = {path.rpartition(f"{_MAPS}/")[0] for path in source.files if f"/{_MAPS}/" in f"/{path}"}
    if len(inside) != 1:
        raise DatasetError(
            f"{source.path}: {len(inside)} folders {_MAPS} here, expected one, with a PNG for each annotated frame; "
            "name the folder that holds it"
        )
    (root,) = inside
    maps = [path for path in source.files if path.startswith(f"{root}{_MAPS}/") and path.lower().endswith(".png")]
    objects = {path for path in source.files if path.startswith(f"{root}{_OBJECTS}/")}
    classes: dict[str, Color | None] = {name: voc_color(number) for number, name in enumerate(_NAMES)}
    if f"{root}{_LABEL_MAP}" in source.files:
        classes = _label_map(source, f"{root}{_LABEL_MAP}")
    with refused(source.tree.locate(maps[0]) if maps else str(source.path)):
        table = _table(classes)
    frames = [
        AnnotatedFrame(
            name=path.removeprefix(f"{root}{_MAPS}/")[: -len(".png")],
            where=source.tree.locate(path),
            place="its label map",
            draw=partial(_draw, source.resource(path), table),
            folders=(f"{root}{_FRAMES}", f"{root}images"),
        )
        for path in maps
    ]
    return Annotations(classes=classes, frames=frames, maps=frozenset(objects.union(maps)))


def _label_map(source: Source, path: str) -> dict[str, Color | None]:
    """Names and colours of a labelmap.txt: lines of name:red,green,blue:parts:actions. Raises: InputError."""
    names: list[str] = []
    colors: list[Color | None] = []
    with refused(source.tree.locate(path)):
        for number, line in enumerate(source.read(path).decode().splitlines(), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, _, rest = line.partition(":")
            values = rest.partition(":")[0].split(",")
            try:
                red, green, blue = (int(value) for value in values)
                bytes((red, green, blue))
            except ValueError:
                raise ValueError(f"line {number} is {line!r:.60}, expected name:red,green,blue::") from None
            if (red, green, blue) in colors:
                raise ValueError(f"line {number}: {name} has the colour of {names[colors.index((red, green, blue))]}")
            names.append(name.strip())
            colors.append((red, green, blue))
        require_names(names)
        if not 0 < len(names) <= _MOST_CLASSES:
            raise ValueError(f"{len(names)} classes, expected 1 to {_MOST_CLASSES}; leave out those that do not occur")
    return dict(zip(names, colors, strict=True))


def _table(classes: dict[str, Color | None]) -> ClassTable:
    """The classes by their numbers, as a table for reading label maps, with two more for what nobody labelled."""
    table = [
        LabelClass(id=number, name=f"{number} {name}", train_id=number, color=color or voc_color(number))
        for number, (name, color) in enumerate(classes.items())
    ]
    taken = {each.color for each in table}
    for number, color in enumerate(_VOIDS):
        own = color if color not in taken else table[0].color
        table.append(LabelClass(id=_BORDER - number, name=f"void {number}", train_id=IGNORE_TRAIN_ID, color=own))
    return ClassTable(name="voc", ignore_id=_BORDER, classes=tuple(table))


def _draw(resource: Resource, table: ClassTable, size: tuple[int, int]) -> np.ndarray:
    is_grey = read_header(read_image(resource), str(resource)).kind == "grey"
    ids = read_label(Label(resource, LABEL_IDS if is_grey else COLORS), table)
    if ids.shape != size:
        raise ValueError(f"{ids.shape[0]}x{ids.shape[1]} for a frame of {size[0]}x{size[1]}; export both again")
    return np.where(ids > _MOST_CLASSES - 1, NOBODY, ids.astype(np.int16))


class VocWriter(AnnotationWriter):
    """SegmentationClass/KEY.png, JPEGImages/KEY, labelmap.txt and ImageSets/Segmentation/SPLIT.txt.

    The table's colours are those of the palette where they tell all classes apart; else they are VOC's.
    """

    def __init__(self, split: str, classes: ClassTable) -> None:
        super().__init__(split, classes)
        written = written_classes(classes)
        if len(written) > _MOST_CLASSES:
            raise StoreError(
                f"class table '{classes.name}' has {len(written)} classes, and voc tells {_MOST_CLASSES} from what "
                "nobody labelled; export in another format"
            )
        colors = [each.color for each in written]
        if len({*colors, *_VOIDS}) < len(colors) + len(_VOIDS):
            colors = [voc_color(number) for number in range(len(written))]
        self._colors = dict(zip([each.name for each in written], colors, strict=True))
        self._index = np.full(256, _BORDER, np.uint8)
        self._index[[each.id for each in written]] = np.arange(len(written))
        palette = np.array([voc_color(number) for number in range(256)], np.uint8)
        palette[: len(colors)] = colors
        self._palette = palette.tobytes()
        self._keys: list[str] = []

    def files(self, sample: Sample) -> Iterator[File]:
        file, frame = self.frame(sample)
        self.label_ids(sample)  # refuses unknown ones
        yield f"{_FRAMES}/{file}", frame
        image = Image.fromarray(self._index[sample.label])
        image.putpalette(self._palette)
        buffer = BytesIO()
        image.save(buffer, "PNG")
        yield f"{_MAPS}/{sample.key}.png", buffer.getvalue()
        self._keys.append(self.keep(sample.key))

    def rest(self) -> Iterator[File]:
        lines = [f"{name}:{','.join(map(str, color))}::" for name, color in self._colors.items()]
        yield _LABEL_MAP, "\n".join(["# label:color_rgb:parts:actions", *lines, ""]).encode()
        yield f"ImageSets/Segmentation/{self.split}.txt", "\n".join([*self._keys, ""]).encode()
        yield from super().rest()


VOC = AnnotationFormat(VocWriter)
