"""What a training is made of: frames that are there twice, and coarse annotations."""

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.errors import FitError
from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.datasets.base import DatasetOptions
from propagate.job.config import RunConfig
from propagate.job.run import run
from segtrain.config import FitConfig
from segtrain.data.sampling import COARSELY, build_epoch
from segtrain.fit.sources import open_sampling, open_sources

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


def test_a_data_set_without_coarse_annotations_says_so(config: FitConfig, root: Path) -> None:
    for split in ("train", "val"):
        for kind in ("", "annot"):
            (root / f"{split}{kind}").mkdir()
            (root / f"{split}{kind}" / f"{split}_1.png").write_bytes(encode_png(np.zeros((8, 8), np.uint8)))
    with pytest.raises(FitError, match="data set 'camvid' has no coarse annotations, cityscapes has; give --coarse-s"):
        open_sources(replace(config, dataset="camvid"))
    with pytest.raises(FitError, match="coarse_classes: no classes dragon"):
        open_sampling(replace(config, coarse_classes=("dragon",)), CITYSCAPES)


def test_annotated_frames_of_a_store_are_not_taken_from_the_split_again(
    config: FitConfig, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = DatasetOptions(root=root)
    run(RunConfig(options=options, out=tmp_path / "store", frames=0, limit=1, engine="local"))
    config = replace(config, shards=(tmp_path / "store",), train_split="train", coarse_split=None, coarse_classes=())
    with caplog.at_level(logging.WARNING):
        training, _ = open_sources(config)
    assert [record.key for record in training.records] == ["ulm_000000_000019", "ulm_000001_000019"]
    assert "1 of 2 annotated frames of split 'train' are in the stores, and not taken twice" in caplog.text
    run(RunConfig(options=options, out=tmp_path / "all", frames=0, engine="local"))
    training, _ = open_sources(replace(config, shards=(tmp_path / "all",)))
    assert len(training.records) == 2
