"""Inputs of each kind that the project reads: a good one of a few kB, and the call that reads it."""

import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from click.testing import CliRunner
from helpers.annotations import labels_of, write_frames
from helpers.caffe_files import OLD_LAYER, net
from PIL import Image

from jobs.errors import FileError
from propagate.cli.main import main
from propagate.data.classes import load_classes
from propagate.data.clip import Label, Resource
from propagate.data.images import decode_frame, encode_png, read_image, read_label
from propagate.datasets.base import DatasetOptions
from propagate.datasets.folder import load_layout
from propagate.datasets.mapillary import read_classes
from propagate.datasets.registry import open_dataset
from propagate.datasets.tree import Tree
from propagate.formats.importing import import_annotations
from sdcnet.flow_files import read_flow, write_flow
from sdcnet.flow_truth import FlowTruth
from sdcnet.frames import open_sequences
from segtrain.caffe.read import read_caffemodel
from segtrain.fit.recipes import load_recipe
from segtrain.page.page import page_of
from segtrain.page.record import read_run

DRAW = np.random.default_rng(0)
PIXELS = np.kron(DRAW.integers(0, 256, (6, 10, 3), np.uint8), np.ones((4, 4, 1), np.uint8))  # [24,40,3]
IDS = np.kron(DRAW.integers(0, 12, (6, 10), np.uint8), np.ones((4, 4), np.uint8))


@dataclass(frozen=True)
class Kind:
    """make: writes a good input into a folder. read: what it is read with; returns what was read, as plain values.

    is_proven: the format has checksums, so that what is read of a damaged one must be what was written.
    """

    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    is_text: bool = False
    is_proven: bool = False


def _saved(path: Path, form: str, array: np.ndarray = PIXELS, **options: Any) -> None:
    Image.fromarray(array).save(path, form, **options)


def _resource(path: Path) -> Resource:
    return Resource(str(path.parent), path.name, path.stat().st_size)


def _frame(path: Path) -> bytes:
    return decode_frame(read_image(_resource(path)), str(path)).tobytes()


def _label(path: Path) -> bytes:
    return read_label(Label(_resource(path)), load_classes("camvid")).tobytes()


def _make_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a_1.png", encode_png(PIXELS))
        archive.writestr("train/a_2.png", encode_png(PIXELS[::-1]), zipfile.ZIP_STORED)


def _read_zip(path: Path) -> dict[str, bytes]:
    tree = Tree(path.parent)
    found = {name: tree.resource(f"train/{name}") for name in tree.files("train")}
    return {name: decode_frame(read_image(each), str(each)).tobytes() for name, each in found.items()}


def _make_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(8):
            frame = np.roll(np.kron(PIXELS[:24, :32], np.ones((2, 2, 1), np.uint8)), 2 * number, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _sequences(path: Path) -> int:
    """Of a video, or of the two pictures in a folder, of which one is damaged."""
    return sum(each.frames(0, len(each)).sum().item() for each in open_sequences([path]))


def _make_pictures(path: Path, form: str) -> None:
    for name in (path, path.with_stem("2")):
        _saved(name, form)


def _write_flow(path: Path) -> None:
    write_flow(path, torch.from_numpy(DRAW.normal(0, 9, (1, 2, 12, 20)).astype(np.float32)))


def _flow(path: Path) -> bytes:
    return read_flow(path)[0].numpy().tobytes()


def _make_occlusion(path: Path) -> None:
    _write_flow(path.with_name("flow.flo"))
    cv2.imwrite(str(path), IDS[:12, :20] * 20)


def _occlusion(path: Path) -> bytes:
    seen = FlowTruth(flow=path.with_name("flow.flo"), occluded=path).read()[2]
    assert seen is not None
    return seen.numpy().tobytes()


LAYOUT = "frames: 'f/{sequence}/{frame}.png'\nlabels: 'l/{sequence}/*{frame}.png'\nlabels_hold: label_ids\nclasses:\n"
TABLE = """name: mine
ignore_id: 255
classes:
  - {id: 0, name: road, train_id: 0, color: [128, 64, 128]}
  - {id: 1, name: person, train_id: 1, color: [220, 20, 60]}
  - {id: 255, name: void, train_id: 255, color: [0, 0, 0]}
"""
RECIPE = "network: resnet18\nepochs: 3\ncrop: [64, 64]\nscale: [0.5, 2]\nboost: {pole: 2}\nflip: true\nschedule: poly\n"
CONFIG = "root: /nowhere\nout: /nowhere/out\nframes: 5\nmotion: dis\nmin-confidence: null\nsource: true\nworkers: 2\n"
MAPILLARY = {
    "labels": [
        {"name": "construction--flat--road", "readable": "Road", "color": [128, 64, 128]},
        {"name": "void--unlabeled", "readable": "Unlabeled", "color": [0, 0, 0]},
    ]
}


def _read_config(path: Path) -> str:
    """Through the command line, which ends with an error of its own: the data set is nowhere."""
    result = CliRunner().invoke(main, ["run", "--config", str(path)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if "no such folder" not in result.output:
        raise FileError(str(path), result.output)
    return result.output


def _make_names(path: Path) -> None:
    path.write_text("0016E5_07959\n0001TP_006690\nSeq05VD_f00000\nSeq05VD_f00001\n")


def _read_names(path: Path) -> list[str]:
    """Files of these names as a data set in the layout of CamVid, planned as a run plans it."""
    from propagate.job.plan import make_plan

    root = path.parent / "root"
    for folder in ("train", "trainannot"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in path.read_bytes().split(b"\n"):
            if name and b"/" not in name and b"\0" not in name and len(name) < 250:
                (root / folder / f"{name.decode('utf-8', 'surrogateescape')}.png").write_bytes(encode_png(IDS))
    clips = open_dataset("camvid", DatasetOptions(root=root)).clips(2)
    return [clip.key for plan in make_plan(clips, 2) for clip in plan.clips]


COCO = {
    "images": [{"id": 1, "file_name": "drive_1.png", "height": 24, "width": 40}],
    "categories": [{"id": 1, "name": "road"}, {"id": 2, "name": "car", "color": [1, 2, 3]}],
    "annotations": [
        {"image_id": 1, "category_id": 1, "segmentation": {"size": [24, 40], "counts": "k36b0000n8M\\5"}},
        {"image_id": 1, "category_id": 1, "segmentation": {"size": [24, 40], "counts": [100, 400, 460]}},
        {"image_id": 1, "category_id": 2, "segmentation": [[1.5, 2, 30, 2.5, 20, 20]]},
    ],
}
PANOPTIC = {
    **COCO,
    "annotations": [
        {"image_id": 1, "file_name": "drive_1.png", "segments_info": [{"id": n, "category_id": n} for n in (1, 2)]}
    ],
}
LABELME = {
    "imagePath": "images/drive_1.png",
    "imageHeight": 24,
    "imageWidth": 40,
    "shapes": [
        {"label": "road", "shape_type": "polygon", "points": [[0, 0], [40, 0], [40, 20.5]]},
        {"label": "car", "shape_type": "circle", "points": [[10, 10], [15, 15]]},
        {"label": "sun", "shape_type": "rectangle", "points": [[1, 2], [3, 4]]},
    ],
}
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels>
    <label><name>road</name><color>#804080</color></label>
    <label><name>car</name></label>
  </labels></task></meta>
  <image id="0" name="drive_1.png" width="40" height="24">
    <mask label="road" rle="10, 20, 30, 40" left="2" top="3" width="10" height="10" z_order="1">
    </mask>
    <polygon label="car" points="1.50,2.00;30.00,2.50;20.00,20.00" z_order="2">
    </polygon>
  </image>
</annotations>
"""


def _make_annotations(path: Path, text: str) -> None:
    """With their frame, and what else each of the formats needs."""
    write_frames(path.parent, ["images/drive_1.png"], (24, 40))
    for folder in ("panoptic", "SegmentationClass"):
        (path.parent / folder).mkdir()
        ids = np.zeros((24, 40, 3), np.uint8)
        ids[5:, :, 0] = 1 + (np.indices((19, 40))[1] > 20)
        (path.parent / folder / "drive_1.png").write_bytes(encode_png(ids))
    path.write_text(text)


def _make_archive(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _make_annotations(Path(folder) / "annotations.xml", CVAT)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(Path(folder) / "annotations.xml", "annotations.xml")
            archive.write(Path(folder) / "images/drive_1.png", "images/drive_1.png")


def _annotations(path: Path, form: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        import_annotations(path.parent if form == "voc" else path, Path(folder) / "mine", form)
        return {name: label.tobytes() for name, label in labels_of(Path(folder) / "mine").items()}


def _annotation_kind(file: str, form: str, content: object) -> Kind:
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    return Kind(file, partial(_make_annotations, text=text), partial(_annotations, form=form), True)


def _make_run(path: Path) -> None:
    data = {"samples": 3, "classes": "camvid", "sha256": "0" * 64}
    settings = {"network": "resnet18", "training": data, "validation": data, "dataset": "camvid", "val_split": "val"}
    (path.parent / "config.json").write_text(json.dumps({"settings": settings, "versions": {"torch": "2"}}, indent=1))
    lines: list[dict[str, Any]] = [{"step": 0, "steps": 40, "workers": 1, "device": "cpu"}]
    lines += [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in (20, 40)]
    lines += [{"step": 40, "miou": 0.5, "accuracy": 0.7, "iou/road": 0.5}]
    (path.parent / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _make_caffemodel(path: Path) -> None:
    """In both forms, one after the other, as protobuf allows."""
    weights = torch.from_numpy(DRAW.standard_normal((4, 3, 3, 3)).astype(np.float32))
    layers = {"conv1": [weights, weights[:, 0, 0, 0]], "conv1/bn": [weights[:1, :, :1, :1]] * 4}
    path.write_bytes(net(layers) + net({f"old_{name}": held for name, held in layers.items()}, OLD_LAYER))


def _caffemodel(path: Path) -> dict[str, bytes]:
    return {name: blob.numpy().tobytes() for name, blob in read_caffemodel(path).blobs.items()}


KINDS = {
    "png label": Kind("label.png", partial(_saved, form="PNG", array=IDS), _label, is_proven=True),
    "png frame": Kind("frame.png", partial(_saved, form="PNG"), _frame, is_proven=True),
    "jpeg frame": Kind("frame.jpg", partial(_saved, form="JPEG", quality=90), _frame),
    "zip": Kind("all.zip", _make_zip, _read_zip, is_proven=True),
    "video": Kind("drive.avi", _make_video, _sequences),
    "video mp4": Kind("drive.mp4", _make_video, _sequences),
    "png picture": Kind(
        "1.png", partial(_make_pictures, form="PNG"), lambda path: _sequences(path.parent), is_proven=True
    ),
    "tiff picture": Kind("1.tif", partial(_make_pictures, form="TIFF"), lambda path: _sequences(path.parent)),
    "webp picture": Kind("1.webp", partial(_make_pictures, form="WEBP"), lambda path: _sequences(path.parent)),
    "bmp picture": Kind("1.bmp", partial(_make_pictures, form="BMP"), lambda path: _sequences(path.parent)),
    "layout": Kind(
        "layout.yaml", lambda path: path.write_text(LAYOUT + "  " + TABLE.replace("\n", "\n  ")), load_layout, True
    ),
    "class table": Kind("table.yaml", lambda path: path.write_text(TABLE), load_classes, True),
    "flow flo": Kind("flow.flo", _write_flow, _flow),
    "flow png": Kind("flow.png", _write_flow, _flow, is_proven=True),
    "occlusion png": Kind("mask.png", _make_occlusion, _occlusion, is_proven=True),
    "recipe": Kind("recipe.yaml", lambda path: path.write_text(RECIPE), lambda path: load_recipe(str(path)), True),
    "config": Kind("config.yaml", lambda path: path.write_text(CONFIG), _read_config, True),
    "camvid names": Kind("names.txt", _make_names, _read_names, True),
    "mapillary json": Kind(
        "config.json",
        lambda path: path.write_text(json.dumps(MAPILLARY, indent=1)),
        lambda path: read_classes(_resource(path)),
        True,
    ),
    "cvat xml": _annotation_kind("annotations.xml", "cvat", CVAT),
    "cvat zip": Kind("task.zip", _make_archive, partial(_annotations, form="cvat"), is_proven=True),
    "coco json": _annotation_kind("instances.json", "coco", COCO),
    "panoptic json": _annotation_kind("panoptic.json", "coco-panoptic", PANOPTIC),
    "labelme json": _annotation_kind("drive_1.json", "labelme", LABELME),
    "voc labelmap": _annotation_kind("labelmap.txt", "voc", "void:0,0,0::\nroad:1,0,0::\ncar:2,0,0:a,b:c\n"),
    "caffemodel": Kind("network.caffemodel", _make_caffemodel, _caffemodel),
    "run log": Kind("log.jsonl", _make_run, lambda path: page_of(read_run(path.parent)), True),
    "run config": Kind("config.json", _make_run, lambda path: page_of(read_run(path.parent)), True),
}
