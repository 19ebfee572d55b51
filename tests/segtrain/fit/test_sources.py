"""What a training is made of: frames that are there twice, and coarse annotations."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.decisions import decide

from jobs.errors import FitError
from propagate.carry.sample_settings import SampleSettings
from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.datasets.base import DatasetOptions
from propagate.job.config import RunConfig
from propagate.job.run import run
from segtrain.config import FitConfig
from segtrain.data.sampling import COARSELY, build_epoch
from segtrain.fit.sources import open_sampling, open_sources
from segtrain.fit.training import fit

CITYSCAPES = load_classes("cityscapes")
ROAD, BUS = (CITYSCAPES.train_names.index(name) for name in ("road", "bus"))


def annotate(root: Path, kind: str, split: str, city: str, *train_ids: int) -> None:
    """A frame of that city, and its label map of these classes side by side."""
    frames, labels = root / "leftImg8bit" / split / city, root / kind / split / city
    for folder in (frames, labels):
        folder.mkdir(parents=True, exist_ok=True)
    key = f"{city}_{len(list(labels.iterdir())):06d}_000019"
    label = np.repeat(CITYSCAPES.id_of_train_id[list(train_ids)].astype(np.uint8)[None], 64 * 64, axis=0)
    (labels / f"{key}_{kind}_labelIds.png").write_bytes(encode_png(label.reshape(64, -1)))
    (frames / f"{key}_leftImg8bit.png").write_bytes(encode_png(cv2.merge([label.reshape(64, -1)] * 3)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two finely annotated roads of ulm, a road and a bus, coarsely annotated, of bonn, and a road to validate on."""
    annotate(tmp_path / "city", "gtFine", "train", "ulm", ROAD)
    annotate(tmp_path / "city", "gtFine", "train", "ulm", ROAD)
    annotate(tmp_path / "city", "gtCoarse", "train_extra", "bonn", ROAD, BUS)
    annotate(tmp_path / "city", "gtFine", "val", "lindau", ROAD)
    return tmp_path / "city"


@pytest.fixture
def config(root: Path, tmp_path: Path) -> FitConfig:
    return FitConfig(
        root=root, dataset="cityscapes", out=tmp_path / "run", coarse_split="train_extra", coarse_classes=("bus",)
    )


def test_coarse_annotations_give_crops_of_their_classes_alone(config: FitConfig) -> None:
    training, _ = open_sources(config)
    assert [record.origin for record in training.records] == ["annotated", "annotated", COARSELY]
    sampling = replace(open_sampling(config, training.classes), length=76, class_uniform=1.0)
    epoch = build_epoch(training.index(64), sampling, seed=0, epoch=0)
    assert epoch.sample[epoch.train_id == BUS].tolist() == [2] * 4
    assert (epoch.sample == 2).sum() == 4
    assert BUS not in epoch.absent


@pytest.mark.parametrize(("wanted", "is_said"), [("bus", False), ("train", True)])
def test_coarse_annotations_that_give_no_crop_are_said_to(config: FitConfig, wanted: str, is_said: bool) -> None:
    small: dict[str, Any] = {"network": "mobilenetv2", "output_stride": 16, "class_uniform_tile": 64, "crop": (64, 64)}
    once: dict[str, Any] = {"epochs": 1, "epoch_length": 20, "batch_size": 10, "loader_workers": 0, "device": "cpu"}
    said: list[str] = []
    fit(
        replace(config, **small, **once, val_split=None, coarse_classes=(wanted,), class_uniform=1.0),
        lambda advance: said.append(str(advance)),
    )
    assert (
        "no crop of --coarse-split in the first epoch: its frames have no pixel of train" in "".join(said)
    ) == is_said


def test_a_data_set_without_coarse_annotations_says_so(config: FitConfig, root: Path) -> None:
    for split in ("train", "val"):
        for kind in ("", "annot"):
            (root / f"{split}{kind}").mkdir()
            (root / f"{split}{kind}" / f"{split}_1.png").write_bytes(encode_png(np.zeros((8, 8), np.uint8)))
    with pytest.raises(FitError, match="data set 'camvid' has no coarse annotations, cityscapes has; give --coarse-s"):
        open_sources(replace(config, dataset="camvid"))
    with pytest.raises(FitError, match="coarse_classes: no classes dragon"):
        open_sampling(replace(config, coarse_classes=("dragon",)), CITYSCAPES)


def test_a_data_set_whose_coarse_annotations_are_not_there_says_how_to_train_without(
    config: FitConfig, root: Path
) -> None:
    shutil.rmtree(root / "gtCoarse")
    with pytest.raises(FitError, match=r"gtCoarse.*; or train without the coarse annotations of --coarse-split: none"):
        open_sources(config)


def shards_of(root: Path, out: Path, **settings: Any) -> Path:
    run(RunConfig(options=DatasetOptions(root=root), out=out, frames=0, engine="local", **settings))
    return out


def test_annotated_frames_of_a_store_are_not_taken_from_the_split_again(
    config: FitConfig, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = shards_of(root, tmp_path / "store", limit=1)
    config = replace(config, shards=(store,), train_split="train", coarse_split=None, coarse_classes=())
    with caplog.at_level(logging.WARNING):
        training, _ = open_sources(config)
    assert [record.key for record in training.records] == ["ulm_000000_000019", "ulm_000001_000019"]
    assert "1 of 2 annotated frames of split 'train' are in the stores, and not taken twice" in caplog.text
    for form in ("encoded", "raw"):
        everything = shards_of(root, tmp_path / form, sample_settings=SampleSettings(images=form))
        training, _ = open_sources(replace(config, shards=(everything,)))
        assert len(training.records) == 2


def test_offsets_are_asked_of_a_store_that_has_no_propagated_sample(
    config: FitConfig, root: Path, tmp_path: Path
) -> None:
    config = replace(config, shards=(shards_of(root, tmp_path / "store"),), coarse_split=None, coarse_classes=())
    with pytest.raises(FitError, match="store: no propagated sample, at none of --offsets -3,0,3; leave --offsets out"):
        open_sources(replace(config, offsets=(-3, 0, 3)))


def test_rejected_frames_of_a_store_are_not_taken_from_the_split_either(
    config: FitConfig, root: Path, tmp_path: Path
) -> None:
    store = shards_of(root, tmp_path / "store")
    decisions = (decide(tmp_path / "d.json", store, 1),)
    config = replace(config, shards=(store,), train_split="train", coarse_split=None, coarse_classes=())
    training, _ = open_sources(replace(config, decisions=decisions))
    assert [record.key for record in training.records] == ["ulm_000000_000019"]


@pytest.mark.parametrize("changed", ["leftImg8bit", "gtFine"])
def test_frames_of_another_data_set_are_taken_whatever_they_are_called(
    config: FitConfig, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: str
) -> None:
    store = shards_of(root, tmp_path / "store")
    (first,) = (root / changed / "train" / "ulm").glob("*_000000_*")
    label = np.full((64, 64), CITYSCAPES.id_of_train_id[BUS], np.uint8)
    first.write_bytes(encode_png(label if changed == "gtFine" else cv2.merge([label] * 3)))
    config = replace(config, shards=(store,), train_split="train", coarse_split=None, coarse_classes=())
    with caplog.at_level(logging.WARNING):
        training, _ = open_sources(config)
    assert [record.key for record in training.records] == [f"ulm_00000{n}_000019" for n in (0, 1, 0)]
    assert "1 of 2 annotated frames of split 'train' are called as frames of the stores are, but have" in caplog.text
    assert training.read(2).label.flat[0] == (BUS if changed == "gtFine" else ROAD)


def test_a_store_is_not_trained_on_twice(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(RunConfig(options=DatasetOptions(root=root), out=store, frames=0, engine="local"))
    with pytest.raises(FitError, match=r"store: is given more than once, and would count so; give --shards each"):
        open_sources(FitConfig(shards=(store, tmp_path / "store"), out=tmp_path / "run"))
