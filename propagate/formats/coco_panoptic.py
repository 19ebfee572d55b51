"""COCO panoptic: a PNG of segment ids, red + 256 green + 65536 blue, for each image, and a JSON file of categories.

Read: images, categories, and of each annotation the PNG and `segments_info`; id 0 is what nobody labelled. Not read:
which segments are of one category, iscrowd, isthing. Written: one segment for each frame and class.

Reference: cocodataset.org, format of data, panoptic segmentation.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from propagate.data.clip import Resource
from propagate.data.encoded import checked_header
from propagate.data.images import decode_frame, encode_png, read_image
from propagate.data.sample import Sample
from propagate.export import File
from propagate.formats.annotations import NOBODY, AnnotatedFrame, Annotations, refused
from propagate.formats.areas import MOST_SHAPES
from propagate.formats.categories import Categories
from propagate.formats.coco import FOLDERS, MOST_ANNOTATIONS, CocoFileWriter, read_images
from propagate.formats.source import Source
from propagate.formats.values import member, members
from propagate.formats.writing import AnnotationFormat, box_of

_CHANNELS = np.array([1, 1 << 8, 1 << 16], np.uint32)


def read_coco_panoptic(source: Source) -> Annotations:
    """What COCO's JSON file of panoptic annotations, and the PNGs beside it, hold. Raises: DatasetError, InputError."""
    path = source.annotation_file(".json", "panoptic", "a JSON file of COCO's panoptic annotations")
    where = source.tree.locate(path)
    with refused(where):
        return _read(source, source.read_json(path), path, where)


def _read(source: Source, data: Any, path: str, where: str) -> Annotations:
    categories = Categories(data)
    images = read_images(data)
    inside, plain = PurePosixPath(path).parent, PurePosixPath(path).stem
    folders = (str(inside / plain), plain, str(inside), "")
    frames, maps = [], set[str]()
    for place, annotation in members(data, "annotations", MOST_ANNOTATIONS, "the file"):
        number = member(annotation, "image_id", int, place)
        if number not in images:
            raise ValueError(f"{place}: image_id is {number}, and no image has that id; export it again")
        name, size = images[number]
        file = member(annotation, "file_name", str, place)
        png = source.image(file, folders, maps, where)
        if png is None or not png.lower().endswith(".png"):
            raise ValueError(f"{place}: its PNG of segments, {file!r:.200}, is not there; add it")
        maps.add(png)
        segments: dict[int, int] = {}
        for inner, each in members(annotation, "segments_info", MOST_SHAPES, place):
            segment = member(each, "id", int, inner)
            if not 0 < segment < 1 << 24 or segment in segments:
                raise ValueError(
                    f"{place}, {inner}: id is {segment}, expected 1 to 16777215, each once; export it again"
                )
            segments[segment] = categories.index(member(each, "category_id", int, inner), inner)
        frames.append(
            AnnotatedFrame(
                name=name,
                where=source.tree.locate(png),
                place=f"image {name}",
                size=size,
                draw=partial(_draw, source.resource(png), segments),
                folders=FOLDERS,
            )
        )
    return Annotations(classes=categories.colors, frames=frames, maps=frozenset(maps))


def _draw(png: Resource, segments: dict[int, int], size: tuple[int, int]) -> np.ndarray:
    data = read_image(png)
    if checked_header(data, str(png)).format != "PNG":
        raise ValueError("segments as JPEG, whose compression alters ids; expected an 8-bit RGB PNG")
    ids = decode_frame(data, str(png)).astype(np.uint32) @ _CHANNELS
    if ids.shape != size:
        raise ValueError(f"segments of {ids.shape[0]}x{ids.shape[1]} for a frame of {size[0]}x{size[1]}; export again")
    known = np.array(sorted({0, *segments}), np.int64)
    places = np.searchsorted(known, ids).clip(max=len(known) - 1)
    is_strange = known[places] != ids
    if is_strange.any():
        row, column = np.argwhere(is_strange)[0]
        raise ValueError(
            f"holds {is_strange.sum()} pixels of segments that segments_info does not have, the first at row {row}, "
            f"column {column}, segment {ids[row, column]}; export both again"
        )
    return np.array([segments.get(each, NOBODY) for each in known.tolist()], np.int16)[places]


class CocoPanopticWriter(CocoFileWriter):
    """annotations/panoptic_SPLIT.json, annotations/panoptic_SPLIT/KEY.png, and images/KEY."""

    kind = "panoptic"

    def files(self, sample: Sample) -> Iterator[File]:
        file, frame = self.frame(sample)
        yield f"images/{file}", frame
        segments = np.zeros((*sample.size, 3), np.uint8)
        infos = []
        for label_id in self.label_ids(sample):
            mask, number = sample.label == label_id, self.ids[label_id]
            segments[mask] = (number % 256, number // 256, 0)
            infos.append(
                {"id": number, "category_id": number, "iscrowd": 0, "area": int(mask.sum()), "bbox": box_of(mask)}
            )
        yield f"annotations/panoptic_{self.split}/{sample.key}.png", encode_png(segments)
        image = self.add_image(file, sample.size)
        self.add_annotation({"image_id": image, "file_name": f"{sample.key}.png", "segments_info": infos})


COCO_PANOPTIC = AnnotationFormat(CocoPanopticWriter)
