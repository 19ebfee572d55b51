"""Mapillary Vistas: classes from its own config.json, label ids as palette indices, pictures without neighbours."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from propagate.data.images import read_label
from propagate.datasets.base import Dataset, DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.errors import DatasetError, InputError

Plant = Callable[..., Path]
NUM_LABELS = 66  # of version 1.2; the last stands for unlabeled pixels


def config(num_labels: int = NUM_LABELS, unlabeled: int = NUM_LABELS - 1) -> dict[str, object]:
    labels = [
        {
            "name": "void--unlabeled" if number == unlabeled else f"object--thing-{number}",
            "readable": "Unlabeled" if number == unlabeled else f"Thing {number}",
            "color": [number % 256, 2 * number % 256, 7],
            "instances": False,
            "evaluate": number != unlabeled,
        }
        for number in range(num_labels)
    ]
    return {"labels": labels, "version": "1.1", "mapping": "public", "folder_structure": {}}


def pictures(keys: list[str], folder: str = "training", labels: str = "labels") -> list[str]:
    return [name for key in keys for name in (f"{folder}/images/{key}.jpg", f"{folder}/{labels}/{key}.png")]


@pytest.fixture
def vistas(plant: Plant) -> Callable[..., Path]:
    """A tree of pictures in both splits, with a config.json."""

    def make(description: object = None, name: str = "config.json") -> Path:
        root = plant([*pictures(["-bZ_9", "a-1"]), *pictures(["c_2"], "validation"), "testing/images/d.jpg"])
        (root / name).write_text(json.dumps(config() if description is None else description))
        return root

    return make


Vistas = Callable[..., Path]


def open_at(root: Path, split: str = "train") -> Dataset:
    return open_dataset("mapillary", DatasetOptions(root=root, split=split))


def test_pictures_have_no_neighbours(vistas: Vistas) -> None:
    root = vistas()
    first, second = open_at(root).clips(5)
    assert [(clip.key, clip.split, clip.group) for clip in (first, second)] == [
        ("-bZ_9", "train", "train"),
        ("a-1", "train", "train"),
    ]
    assert list(first.frames) == list(second.frames) == [0]
    assert not first.missing
    assert first.frames[0].image.read().decode() == "training/images/-bZ_9.jpg"
    assert first.label.resource.read().decode() == "training/labels/-bZ_9.png"
    assert [clip.key for clip in open_at(root, "val").clips(0)] == ["c_2"]


def test_a_zip_file_is_read_as_it_is(plant: Plant) -> None:
    root = plant(pictures(["a"]), "vistas.zip")
    (root / "config.json").write_text(json.dumps(config()))
    [clip] = open_at(root).clips(0)
    assert clip.frames[0].image.read().decode() == "training/images/a.jpg"


def test_a_download_that_holds_version_2_too_gives_version_1_2(plant: Plant) -> None:
    root = plant([*pictures(["a"], labels="v1.2/labels"), *pictures(["a"], labels="v2.0/labels")])
    (root / "config_v1.2.json").write_text(json.dumps(config()))
    [clip] = open_at(root).clips(0)
    assert clip.label.resource.read().decode() == "training/v1.2/labels/a.png"


def test_the_classes_are_those_of_the_data_set(vistas: Vistas) -> None:
    classes = open_at(vistas()).classes
    assert (classes.name, classes.ignore_id, len(classes.classes)) == ("mapillary", 65, 66)
    assert classes.train_names == tuple(f"Thing {number}" for number in range(65))
    assert classes.train_id_of[:66].tolist() == [*range(65), 255]
    assert classes.palette[7].tolist() == [7, 14, 7]


def test_unlabeled_pixels_may_be_any_of_its_labels(vistas: Vistas) -> None:
    classes = open_at(vistas(config(num_labels=4, unlabeled=1))).classes
    assert classes.ignore_id == 1
    assert classes.train_id_of[:4].tolist() == [0, 255, 1, 2]
    assert classes.train_names == ("Thing 0", "Thing 2", "Thing 3")


def test_palette_indices_are_the_label_ids(vistas: Vistas) -> None:
    root = vistas()
    ids = np.array([[0, 13, 64, 65]], np.uint8)
    (root / "training/labels/a-1.png").write_bytes(palette_png(ids))
    (root / "training/labels/-bZ_9.png").write_bytes(palette_png(ids + 1))
    dataset = open_at(root)
    wrong, right = dataset.clips(0)
    assert read_label(right.label, dataset.classes).tolist() == ids.tolist()
    with pytest.raises(InputError, match=r"66 \(1 pixels\)"):
        read_label(wrong.label, dataset.classes)


def palette_png(indices: np.ndarray) -> bytes:
    image = Image.fromarray(indices, "P")
    image.putpalette([255 - value // 3 for value in range(768)])
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_labels_are_found_by_key(vistas: Vistas) -> None:
    assert list(open_at(vistas()).labels(["a-1", "c_2"])) == ["a-1"]


def test_a_label_without_its_picture_is_a_clip_that_fails(vistas: Vistas) -> None:
    root = vistas()
    (root / "training/images/a-1.jpg").unlink()
    _, lost = open_at(root).clips(0)
    assert lost.missing[0].startswith(f"{root}/training/labels/a-1.png: its frame a-1 is missing;")


@pytest.mark.parametrize(
    ("names", "split", "sentence"),
    [
        (["training/images/a.jpg"], "train", "no Mapillary labels: neither training/labels/ nor validation/labels/"),
        (pictures(["a"]), "val", "no labels of a split 'val'; there are labels of: train$"),
        (pictures(["a"]), "train", r"no config\.json and no config_v1\.2\.json, which names the classes; .* add it"),
        (["config.json", "training/labels/a.jpg"], "train", r"config\.json: JSONDecodeError: .*; expected the config"),
    ],
)
def test_a_root_that_cannot_be_used_is_refused(plant: Plant, names: list[str], split: str, sentence: str) -> None:
    root = plant(names)
    with pytest.raises(DatasetError, match=f"^{root}.*{sentence}"):
        open_at(root, split)


def test_a_split_without_label_maps_is_refused(vistas: Vistas) -> None:
    root = vistas()
    (root / "validation/labels/c_2.png").rename(root / "validation/labels/c_2.txt")
    with pytest.raises(DatasetError, match=r"frames without labels: split 'val' holds no \*\.png"):
        open_at(root, "val").clips(0)


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ({"classes": []}, "KeyError: 'labels'; expected the config.json of Mapillary Vistas 1.2"),
        ([], "TypeError: .*; expected the config.json"),
        (config(unlabeled=-1), "ValueError: 'void--unlabeled' is not in list; expected the config.json"),
        ({"labels": [{"name": "void--unlabeled"}]}, "KeyError: 'readable'; expected the config.json"),
        (config(num_labels=300, unlabeled=0), "label ids must be distinct and within 0…255"),
    ],
)
def test_a_config_that_names_no_classes_is_refused(vistas: Vistas, description: object, sentence: str) -> None:
    root = vistas(description)
    with pytest.raises(DatasetError, match=sentence):
        open_at(root)


def test_options_of_other_layouts_are_refused(vistas: Vistas) -> None:
    root = vistas()
    with pytest.raises(DatasetError, match="the mapillary layout takes no layout file"):
        open_dataset("mapillary", DatasetOptions(root=root, layout=root / "layout.yaml"))
    with pytest.raises(DatasetError, match="the mapillary layout takes no --max-gap, its pictures have no neighbours"):
        open_dataset("mapillary", DatasetOptions(root=root, max_gap=2))
