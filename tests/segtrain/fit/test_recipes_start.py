"""Each published recipe starts on made data of its layout, and takes its first steps with the published rate."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers.runs import lines

from jobs.training.state import TrainState
from propagate.carry.sample_settings import SampleSettings
from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.datasets.base import DatasetOptions
from propagate.job.config import RunConfig
from propagate.job.run import run
from sdcnet.motion.registry import MotionSettings
from segtrain.config import FitConfig
from segtrain.fit.recipes import load_recipe, recipe_names
from segtrain.fit.training import fit

pytestmark = pytest.mark.slow

SIZE = (64, 128)
HELD_OUT = {  # by fold
    "cv0": ("frankfurt", "lindau", "munster"),
    "cv1": ("darmstadt", "dusseldorf", "erfurt"),
    "cv2": ("monchengladbach", "strasbourg", "stuttgart"),
}
# the first rate, and the epochs over which it falls: of the paper, as far as is known, and of the released scripts
PUBLISHED = {
    "camvid": (0.002, 120),
    "cityscapes-srnx50": (0.002, 180),
    "cityscapes-wrn38": (0.002, 180),
    "cityscapes-wrn38-released": (0.001, 175),
    "kitti": (0.002, 90),
    "kitti-released": (0.001, 90),
    "mapillary-srnx50": (0.002, 180),
    "mapillary-wrn38": (0.002, 180),
    "mapillary-wrn38-released": (0.02, 175),
}
# what makes it small enough for this machine: what a sample shows, and how many there are, but no number of a step
SMALL: dict[str, Any] = {
    "network": "mobilenetv2",
    "output_stride": 16,
    "crop": (64, 64),
    "batch_size": 2,
    "epoch_length": 4,
    "checkpoint_activations": False,
    "dtype": "float32",
    "device": "cpu",
    "loader_workers": 0,
}


def write(path: Path, label_ids: np.ndarray | None = None, *, seed: int = 0) -> None:
    """A label map, or a frame of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8) if label_ids is None else label_ids
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        cv2.imwrite(str(path), pixels)
    else:
        path.write_bytes(encode_png(pixels))


def trained(table: str) -> np.ndarray:
    """The label ids of the classes that are trained."""
    ids = load_classes(table).id_of_train_id
    return ids[ids >= 0]


def blocks(ids: np.ndarray) -> np.ndarray:
    """[H,W] uint8: these label ids, in blocks of 16 pixels."""
    some = np.resize(ids, (SIZE[0] // 16, SIZE[1] // 16)).astype(np.uint8)
    return some.repeat(16, axis=0).repeat(16, axis=1)


def cityscapes(root: Path) -> None:
    """A frame of each of the cities by which folds are told, of the validation's too, and one coarsely annotated."""
    val = HELD_OUT["cv0"]
    places = [("gtFine", "val" if city in val else "train", city) for cities in HELD_OUT.values() for city in cities]
    for kind, split, city in [*places, ("gtCoarse", "train_extra", "bayreuth")]:
        write(root / kind / split / city / f"{city}_000000_000019_{kind}_labelIds.png", blocks(trained("cityscapes")))
        write(root / "leftImg8bit" / split / city / f"{city}_000000_000019_leftImg8bit.png")


def kitti(root: Path) -> None:
    for scene in (0, 1, 2, 3, 40):
        write(root / f"training/semantic/{scene:06d}_10.png", blocks(trained("cityscapes")))
        write(root / f"training/image_2/{scene:06d}_10.png")


def camvid(root: Path) -> None:
    for split, number in (("train", 1), ("train", 2), ("val", 7), ("test", 9)):
        write(root / f"{split}annot/0016E5_{number:05d}.png", blocks(trained("camvid")))
        write(root / f"{split}/0016E5_{number:05d}.png", seed=number)


def mapillary(root: Path) -> None:
    names = [*(f"object--thing-{number}" for number in range(65)), "void--unlabeled"]
    labels = [
        {"name": name, "readable": name, "color": [n, n, n], "instances": False, "evaluate": n < 65}
        for n, name in enumerate(names)
    ]
    root.mkdir(parents=True)
    (root / "config.json").write_text(json.dumps({"labels": labels, "version": "1.1", "mapping": "public"}))
    for folder, key in (("training", "a"), ("training", "b"), ("training", "c"), ("validation", "d")):
        write(root / folder / "labels" / f"{key}.png", blocks(np.arange(66)))
        write(root / folder / "images" / f"{key}.jpg")


MAKE: dict[str, Callable[[Path], None]] = {
    "cityscapes": cityscapes,
    "kitti": kitti,
    "camvid": camvid,
    "mapillary": mapillary,
}


def test_all_published_recipes_are_started() -> None:
    assert PUBLISHED.keys() == {name for name in recipe_names() if load_recipe(name).get("as_published")}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_starts_and_its_first_steps_have_the_published_rate(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(name)
    MAKE[recipe["dataset"]](tmp_path / "data")
    config = FitConfig(out=tmp_path / "run", root=tmp_path / "data", **recipe)
    assert (config.learning_rate, config.epochs) == PUBLISHED[name]
    rates: list[float] = []
    update = TrainState.update

    def noted(state: TrainState[Any], rate: float, loss: torch.Tensor) -> bool:
        assert loss.isfinite()
        if len(rates) == 3:
            raise KeyboardInterrupt
        rates.append(rate)
        return update(state, rate, loss)

    monkeypatch.setattr(TrainState, "update", noted)
    with pytest.raises(KeyboardInterrupt):
        fit(replace(config, **SMALL))
    rate, epochs = PUBLISHED[name]
    assert rates == pytest.approx([rate, rate, rate * (1 - 1 / epochs)]), "two steps an epoch"


def test_the_released_recipe_trains_on_a_store_of_its_offsets_and_later_on_annotated_frames_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six cities: 18 samples an epoch, from epoch 151 on six. Annotated frames are those of the store."""
    root = tmp_path / "data"
    cityscapes(root)
    cities = [path.name for path in (root / "leftImg8bit").glob("*/*") if path.name != "bayreuth"]
    for city, number in product(cities, range(16, 23)):
        split = "val" if city in HELD_OUT["cv0"] else "train"
        write(root / f"leftImg8bit_sequence/{split}/{city}/{city}_000000_{number:06d}_leftImg8bit.png", seed=number)
    run(
        RunConfig(
            options=DatasetOptions(root=root, split="cv2"),
            out=tmp_path / "store",
            motion=MotionSettings(name="none"),
            sample_settings=SampleSettings(offsets=(-3, 0, 3), pairing="joint"),
            engine="local",
        )
    )
    recipe = load_recipe("cityscapes-wrn38-released")
    config = FitConfig(out=tmp_path / "run", root=root, shards=(tmp_path / "store",), **recipe)

    def stop(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainState, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(replace(config, **{**SMALL, "epoch_length": None}))
    assert lines(config.out)[0]["steps"] == 151 * 9 + 24 * 3
