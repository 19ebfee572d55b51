"""COCO's instances: one JSON file, with areas as runs of pixels or as polygons.

Read: images, categories and annotations with a segmentation, those listed later above those listed earlier. Not read:
which pixels are of one instance, iscrowd, boxes, key points. Written: for each frame and class, one annotation, as
compressed runs.

Reference: cocodataset.org, format of data; pycocotools, mask.
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from propagate.data.classes import ClassTable
from propagate.data.runs import mask_of_runs, runs_of_coco
from propagate.data.sample import Sample
from propagate.export import File
from propagate.formats.annotations import AnnotatedFrame, Annotations, refused
from propagate.formats.areas import (
    MOST_SHAPES,
    Area,
    LabelledArea,
    drawn,
    encoded_runs,
    mask_of_polygons,
)
from propagate.formats.categories import Categories, category_ids, coco_file
from propagate.formats.source import Source
from propagate.formats.values import member, members, numbers
from propagate.formats.writing import AnnotationFormat, AnnotationWriter, box_of

MOST_ANNOTATIONS = 10_000_000
FOLDERS = ("", "images", "data")


def read_coco(source: Source) -> Annotations:
    """What COCO's JSON file of instances holds. Raises: DatasetError, InputError."""
    path = source.annotation_file(".json", "instances", "a JSON file of COCO's instances")
    where = source.tree.locate(path)
    with refused(where):
        return _read(source.read_json(path), where)


def _read(data: Any, where: str) -> Annotations:
    categories = Categories(data)
    images = read_images(data)
    shapes: dict[int, list[LabelledArea]] = {}
    passed_over: Counter[str] = Counter()
    for place, annotation in members(data, "annotations", MOST_ANNOTATIONS, "the file"):
        image = member(annotation, "image_id", int, place)
        if image not in images:
            raise ValueError(f"{place}: image_id is {image}, and no image has that id; export it again")
        index = categories.index(member(annotation, "category_id", int, place), place)
        if not annotation.get("segmentation"):
            passed_over["annotations without a segmentation"] += 1
            continue
        shapes.setdefault(image, []).append(LabelledArea(index, place, partial(_area, annotation["segmentation"])))
        if len(shapes[image]) > MOST_SHAPES:
            raise ValueError(f"{place}: more than {MOST_SHAPES} annotations of one image; export it again")
    frames = [
        AnnotatedFrame(
            name=images[image][0],
            where=where,
            place=f"image {images[image][0]}",
            size=images[image][1],
            draw=partial(drawn, each),
            folders=FOLDERS,
        )
        for image, each in shapes.items()
    ]
    return Annotations(classes=categories.colors, frames=frames, passed_over=passed_over)


def read_images(data: Any) -> dict[int, tuple[str, tuple[int, int]]]:
    """The name and size (H, W) of each image, by its id. Raises: ValueError."""
    found: dict[int, tuple[str, tuple[int, int]]] = {}
    for place, image in members(data, "images", MOST_ANNOTATIONS, "the file"):
        number = member(image, "id", int, place)
        if number in found:
            raise ValueError(f"{place}: its id {number} is that of {found[number][0]} too; export it again")
        size = member(image, "height", int, place), member(image, "width", int, place)
        found[number] = member(image, "file_name", str, place), size
    return found


def _area(segmentation: object, size: tuple[int, int]) -> Area:
    """Of runs that go column by column, or of polygons. Raises: ValueError."""
    if isinstance(segmentation, dict):
        return Area(0, 0, mask_of_runs(runs_of_coco(segmentation, size), size[1], size[0]).T)
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation is {segmentation!r:.60}, expected runs or polygons; export it again")
    return mask_of_polygons([numbers(each, "a polygon") for each in segmentation], size)


class CocoFileWriter(AnnotationWriter):
    """annotations/KIND_SPLIT.json, which tells of all images. ids: of the categories, by label id."""

    kind: str

    def __init__(self, split: str, classes: ClassTable) -> None:
        super().__init__(split, classes)
        self.ids = category_ids(classes)
        self._images: list[str] = []
        self._annotations: list[str] = []

    def add_image(self, file: str, size: tuple[int, int]) -> int:
        """Tell of an image of size (H, W); returns its id."""
        number = len(self._images) + 1
        height, width = size
        self._images.append(self.keep(json.dumps({"id": number, "file_name": file, "height": height, "width": width})))
        return number

    def add_annotation(self, annotation: dict[str, Any]) -> None:
        self._annotations.append(self.keep(json.dumps(annotation)))

    @property
    def num_annotations(self) -> int:
        return len(self._annotations)

    def rest(self) -> Iterator[File]:
        yield f"annotations/{self.kind}_{self.split}.json", coco_file(self._images, self._annotations, self.classes)
        yield from super().rest()


class CocoWriter(CocoFileWriter):
    """annotations/instances_SPLIT.json, and images/KEY."""

    kind = "instances"

    def files(self, sample: Sample) -> Iterator[File]:
        file, frame = self.frame(sample)
        yield f"images/{file}", frame
        image = self.add_image(file, sample.size)
        for label_id in self.label_ids(sample):
            mask = sample.label == label_id
            annotation = {
                "id": self.num_annotations + 1,
                "image_id": image,
                "category_id": self.ids[label_id],
                "iscrowd": 0,
                "area": int(mask.sum()),
                "bbox": box_of(mask),
                "segmentation": {"size": list(sample.size), "counts": encoded_runs(mask)},
            }
            self.add_annotation(annotation)


COCO = AnnotationFormat(CocoWriter)
