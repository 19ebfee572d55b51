"""Import, propagate, export, import again: every pixel, or .99 IoU of each class where the format has polygons."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.annotations import labels_of, write_frames
from helpers.stores import write_store
from PIL import Image

from propagate.data.classes import ClassTable, load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.export import export_store
from propagate.formats.importing import import_annotations
from propagate.formats.registry import IMPORTERS
from propagate.shards.reader import open_store

Cli = Callable[..., Any]
SIZE = (60, 80)
EXACT = "every pixel of the label maps is kept"


def label_map() -> np.ndarray:
    """Regions of four classes and of what nobody labelled, with holes in holes, and a pole of one pixel."""
    rows, columns = np.indices(SIZE)
    label = np.where(rows > 30, 0, 1).astype(np.uint8)
    for radius, number in ((22, 2), (17, 255), (12, 3), (6, 0), (3, 255)):
        label[(rows - 28) ** 2 + (columns - 30) ** 2 < radius**2] = number
    label[:50, 70] = 2
    label[40:, 60:] = 255
    return label


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Annotations in COCO's form, of the middle one of three frames."""
    root = write_frames(tmp_path / "begun", [f"images/drive_00000{n}.png" for n in (1, 2, 3)], SIZE)
    label = label_map()
    flat = {number: (label == number).T.ravel() for number in range(4)}
    runs = {
        number: np.diff(np.flatnonzero(np.diff(np.concatenate([[0], mask, [2]]).astype(int))), prepend=0).tolist()
        for number, mask in flat.items()
    }
    content = {
        "images": [{"id": 1, "height": SIZE[0], "width": SIZE[1], "file_name": "drive_000002.png"}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(["road & <path>", "sky", "pole", "Straße"])],
        "annotations": [
            {"image_id": 1, "category_id": n, "segmentation": {"size": list(SIZE), "counts": counts}}
            for n, counts in runs.items()
        ],
    }
    (root / "all.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("form", IMPORTERS)
def test_import_propagate_export_import(cli: Cli, tmp_path: Path, begun: Path, form: str) -> None:
    first, shards, written, again = (tmp_path / name for name in ("first", "shards", "written", "again"))
    done = cli("import", "--format", "coco", begun, first)
    assert done.stdout == f"{first}: 3 frames of 1 sequences, 1 of them labelled; 4 trained classes\n"
    assert np.array_equal(labels_of(first)["drive/000002"], label_map())
    run = ("run", "--dataset", "folder", "--root", first, "--out", shards, "--engine", "local", "--motion", "none")
    assert cli(*run).returncode == 0
    exported = cli("export", shards, written, "--format", form)
    assert (EXACT if form != "labelme" else "polygons: IoU of each class") in exported.stdout
    assert f"--classes {written / 'classes.yaml'}" in exported.stdout
    classes = () if form == "coco" else ("--classes", written / "classes.yaml")
    assert cli("import", "--format", form, written, again, *classes).returncode == 0
    assert load_classes(again / "classes.yaml").classes == load_classes(first / "classes.yaml").classes
    found = labels_of(again)
    assert list(found) == ["drive/000001", "drive/000002", "drive/000003"]
    for sample in open_store(shards).samples():
        label = found[sample.key.replace("_", "/")]
        if form != "labelme":
            assert np.array_equal(label, sample.label)
        for number in np.unique(sample.label).tolist():
            either = (label == number) | (sample.label == number)
            assert ((label == number) & (sample.label == number)).sum() / either.sum() >= 0.99
        frame = again / f"frames/{sample.key.replace('_', '/')}.png"
        assert frame.read_bytes() == sample.image


@pytest.mark.parametrize("form", IMPORTERS)
@pytest.mark.parametrize("table", ["camvid", "cityscapes"])
def test_every_id_of_a_table_comes_back(
    tmp_path: Path, make_sample: Callable[..., Sample], form: str, table: str
) -> None:
    """Noise of all ids, those that are not trained and the ignored one too, from several sizes, PNG, JPEG and raw."""
    classes = load_classes(table)
    ids = np.array([each.id for each in classes.classes], np.uint8)
    draw = np.random.default_rng(0)
    jpeg = BytesIO()
    Image.new("RGB", (30, 40)).save(jpeg, "JPEG")
    samples = [
        make_sample(number, size=size, raw=number == 2, label=ids[draw.integers(0, len(ids), size)])
        for number, size in ((1, (15, 20)), (2, (20, 15)), (3, (40, 30)))
    ]
    samples[2] = replace(samples[2], image=jpeg.getvalue())
    store = open_store(write_store(tmp_path / "store", [[each] for each in samples], classes))
    summary = export_store(store, tmp_path / "written", form)
    assert summary.frames == 3
    import_annotations(tmp_path / "written", tmp_path / "again", form, load_classes(tmp_path / "written/classes.yaml"))
    found = labels_of(tmp_path / "again")
    for sample in samples:
        is_kept = found[sample.key.replace("_", "/")] == sample.label
        assert is_kept.all() if form != "labelme" else is_kept.mean() > 0.99
    assert (tmp_path / "again/frames/seq/000003.jpg").read_bytes() == jpeg.getvalue()
    archive = tmp_path / "written.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((tmp_path / "written").rglob("*.*")):
            file.write(path, path.relative_to(tmp_path / "written"))
    import_annotations(archive, tmp_path / "zipped", form, classes)
    assert all(np.array_equal(found[key], label) for key, label in labels_of(tmp_path / "zipped").items())


@pytest.mark.parametrize("form", IMPORTERS)
def test_an_export_neither_mixes_nor_takes_unknown_ids(
    tmp_path: Path, make_sample: Callable[..., Sample], form: str
) -> None:
    classes = load_classes("camvid")
    good = make_sample(1, size=(4, 5))
    store = open_store(write_store(tmp_path / "good", [[good]], classes))
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine.txt").write_text("here")
    with pytest.raises(StoreError, match="there: already holds files; remove it, or give another directory"):
        export_store(store, tmp_path / "there", form)
    bad = replace(good, label=np.full((4, 5), 77, np.uint8))
    store = open_store(write_store(tmp_path / "bad", [[bad]], classes))
    with pytest.raises(
        StoreError, match=r"seq_000001: holds label ids that class table 'camvid' does not have: \[77\]"
    ):
        export_store(store, tmp_path / "new", form)


def test_voc_takes_its_own_colours_where_the_tables_are_not_all_different(
    tmp_path: Path, make_sample: Callable[..., Sample]
) -> None:
    for table, expected in (("camvid", load_classes("camvid").classes[0].color), ("cityscapes", (0, 0, 0))):
        classes: ClassTable = load_classes(table)
        first = next(each for each in classes.classes if each.id != classes.ignore_id)
        sample = make_sample(1, size=(4, 5), label=np.full((4, 5), first.id, np.uint8))
        store = open_store(write_store(tmp_path / table, [[sample]], classes))
        export_store(store, tmp_path / f"{table}_voc", "voc")
        image = Image.open(tmp_path / f"{table}_voc/SegmentationClass/seq_000001.png")
        assert image.mode == "P"
        assert np.unique(np.array(image)).tolist() == [0]
        assert image.convert("RGB").getpixel((0, 0)) == expected


def test_areas_boxes_and_lists_that_other_trainers_read(tmp_path: Path, make_sample: Callable[..., Sample]) -> None:
    """Of a car of 3 rows and 5 columns, whose first corner is row 4, column 7, on a road."""
    classes = load_classes("cityscapes")
    road, car = (each.id for name in ("road", "car") for each in classes.classes if each.name == name)
    label = np.full((20, 30), road, np.uint8)
    label[4:7, 7:12] = car
    store = open_store(write_store(tmp_path / "store", [[make_sample(0, label=label, size=(20, 30))]], classes))
    for form in ("coco", "coco-panoptic", "voc"):
        export_store(store, tmp_path / form, form)
    for form, kind in (("coco", "instances"), ("coco-panoptic", "panoptic")):
        written = json.loads((tmp_path / form / "annotations" / f"{kind}_train.json").read_text())
        numbers = {each["name"]: each["id"] for each in written["categories"]}
        (annotation,) = written["annotations"][-1:]
        segments = written["annotations"] if form == "coco" else annotation["segments_info"]
        found = {each["category_id"]: (each["area"], each["bbox"]) for each in segments}
        assert found == {numbers["road"]: (585, [0, 0, 30, 20]), numbers["car"]: (15, [7, 4, 5, 3])}
    assert (tmp_path / "voc/ImageSets/Segmentation/train.txt").read_text().split() == ["seq_000000"]


def test_more_classes_than_voc_can_tell_from_the_void_are_refused(
    tmp_path: Path, make_sample: Callable[..., Sample]
) -> None:
    numbers = [
        {"id": number, "name": f"class {number}", "train_id": number, "color": [number, 0, 0]} for number in range(256)
    ]
    classes = ClassTable.from_json({"name": "many", "ignore_id": 255, "classes": numbers})
    store = open_store(write_store(tmp_path / "store", [[make_sample(0)]], classes))
    with pytest.raises(StoreError, match="255 classes, and voc tells 254"):
        export_store(store, tmp_path / "written", "voc")
    assert not (tmp_path / "written").exists()
