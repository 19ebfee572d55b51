"""Scores of a network on annotated images: from counts to tables, and the command line."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.classes import named_classes
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.training.runtime import Runtime
from propagate.data.classes import load_classes
from propagate.data.images import encode_png, read_instance_ids
from propagate.datasets.base import DatasetOptions
from propagate.errors import InputError
from propagate.shards.reader import SampleRecord
from segtrain.checkpoints import save_network
from segtrain.cli.evaluate import evaluate as evaluate_command
from segtrain.data.dataset import Pixels
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.errors import DataError
from segtrain.evaluation.band import Band
from segtrain.evaluation.evaluate import evaluate
from segtrain.evaluation.instances import MEAN_SIZES, class_iiou, count_instances, find_instance_maps
from segtrain.inference import Inference
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network
from segtrain.trained import open_trained

REPOSITORY = Path(__file__).resolve().parents[3]
CITYSCAPES = load_classes("cityscapes")
CPU = Runtime(device=torch.device("cpu"))
KEY = "bonn_000000_000019"
ROAD, CAR, PERSON = (CITYSCAPES.train_names.index(name) for name in ("road", "car", "person"))


def painted(train_ids: np.ndarray) -> np.ndarray:
    """An image in the colours of its classes, which `by_colour` tells apart."""
    return CITYSCAPES.palette[CITYSCAPES.id_of_train_id.clip(min=0)[train_ids]]


def by_colour(images: Tensor) -> Tensor:
    """Logits of the Cityscapes classes: the nearer their colour, the higher."""
    palette = painted(np.arange(len(CITYSCAPES.train_names))[None])
    colours = normalised(torch.from_numpy(palette).permute(2, 0, 1)[None])[0, :, 0]
    return -(images[:, None] - colours.T[None, :, :, None, None]).square().sum(dim=2)


class Painted:
    """A data set of images that show other classes than their labels say; None cannot be read."""

    classes = CITYSCAPES

    def __init__(self, *pairs: tuple[np.ndarray, np.ndarray] | None) -> None:
        self._pairs = pairs
        self.records: Sequence[SampleRecord] = tuple(
            SampleRecord(
                key=f"{n}", source_key=f"{n}", group="", offset=0, pairing="label", score=1.0, origin="annotated"
            )
            for n in range(len(pairs))
        )

    def size(self, number: int) -> tuple[int, int]:
        raise NotImplementedError

    def index(self, tile: int) -> None:  # type: ignore[return]
        raise NotImplementedError

    def read(self, number: int, window: object = None) -> Pixels:
        pair = self._pairs[number]
        if pair is None or window is not None:
            raise InputError(f"{number}.png", "is damaged")
        shown, truth = pair
        return Pixels(painted(shown), truth)


def halves(left: int, right: int, size: tuple[int, int] = (20, 40)) -> np.ndarray:
    labels = np.full(size, left, np.uint8)
    labels[:, size[1] // 2 :] = right
    return labels


def test_what_is_counted_is_what_was_segmented() -> None:
    truth = halves(ROAD, CAR)
    found = halves(ROAD, CAR)
    found[:, :5] = CAR  # far from the boundary: 100 of 400 road pixels
    truth_with_void = truth.copy()
    truth_with_void[0] = 255
    advances: list[int] = []
    report = evaluate(
        by_colour,
        Painted((found, truth), (truth, truth_with_void)),
        Inference(window=(16, 16)),
        CPU,
        band=Band(width=2),
        on_progress=advances.append,
    )
    assert advances == [1, 1]
    assert report.images == 2
    road, car = 300 + 380, 400 + 380
    iou_road, iou_car = road / (road + 100), car / (car + 100)
    assert report.scores == pytest.approx(
        {
            "miou": (iou_road + iou_car) / 2,
            "accuracy": (road + car) / (road + car + 100),
            "mean_class_accuracy": (road / (road + 100) + 1) / 2,
            "frequency_weighted_iou": (iou_road * (road + 100) + iou_car * car) / (road + car + 100),
            "trimap_miou": 1.0,
        }
    )
    assert report.class_scores["road"] == pytest.approx(
        {"iou": iou_road, "recall": road / (road + 100), "precision": 1.0, "trimap_iou": 1.0}
    )
    # two columns on either side; the void row has the classes' neighbours in a disk of 2 px below it
    assert report.near.sum() == 4 * 20 + 4 * 19 + 2 * 36
    assert report.to_dict()["iiou"] is None
    assert report.to_dict()["classes"]["wall"]["iou"] is None


@pytest.mark.parametrize("flip", [False, True])
def test_the_network_sees_what_inference_asks_for(flip: bool) -> None:
    """Eight windows of each scale, and their mirror images."""
    truth, seen = halves(ROAD, CAR), list[tuple[int, ...]]()

    def network(images: Tensor) -> Tensor:
        seen.extend([tuple(images.shape[2:])] * len(images))
        return by_colour(images)

    evaluate(network, Painted((truth, truth)), Inference(scales=(1.0, 2.0), flip=flip, window=(16, 16)), CPU)
    number = 16 if flip else 8
    assert Counter(seen) == {(16, 16): number, (32, 32): number}


def test_an_image_that_cannot_be_read_is_left_out_and_named() -> None:
    truth = halves(ROAD, CAR)
    report = evaluate(by_colour, Painted(None, (truth, truth)), Inference(), CPU)
    assert report.images == 1
    assert report.scores["miou"] == 1.0
    assert [failure.reason for failure in report.failures] == ["0.png: is damaged"]
    assert "- left out: 0.png: is damaged" in report.markdown()


def test_a_data_set_without_images_and_a_band_without_width() -> None:
    with pytest.raises(DataError, match="nothing to score; choose another split"):
        evaluate(by_colour, Painted(), Inference(), CPU)
    with pytest.raises(ValueError, match="width must be at least 1, found 0"):
        Band(width=0)
    with pytest.raises(ValueError, match="shape must be one of round, square, found 'oval'"):
        Band(shape="oval")


def test_the_table_is_markdown_in_percent() -> None:
    truth = halves(ROAD, CAR)
    tables = evaluate(by_colour, Painted((truth, truth)), Inference(), CPU).markdown().splitlines()
    assert tables[0].startswith("| images |     mIoU | accuracy |")
    assert tables[1].startswith("| ------ | -------: |")
    assert tables[2].startswith("| 1      | 100.00 % | 100.00 % |")
    assert "| road          | 100.00 % | 100.00 % |  100.00 % |         100.00 % |" in tables
    assert any(line.startswith("| wall          |        – |") for line in tables)


def test_every_instance_weighs_the_same() -> None:
    instances = np.full((10, 30), 7, np.uint16)  # road: no instances
    instances[:, :10] = 26_000  # a car of 100 pixels
    instances[:5, 10:12] = 26_001  # one of 10
    instances[:, 28:] = 26  # a group of cars, 20 pixels: no instance
    found = np.full((10, 30), ROAD, np.uint8)
    found[:, 5:10] = CAR  # half of the first, nothing of the second
    found[:, 27:] = CAR  # and 10 pixels of road, and all of the group
    counts = count_instances(instances, found, CITYSCAPES)
    size = MEAN_SIZES["car"]
    assert counts[CAR].tolist() == pytest.approx([size / 2, size / 2 + size])
    assert not counts[ROAD].any()
    matrix = np.zeros((19, 20), np.int64)
    matrix[ROAD, CAR] = 10
    iiou = class_iiou(counts, matrix)
    assert iiou[CAR] == pytest.approx(size / 2 / (2 * size + 10))
    assert np.isnan(iiou[[ROAD, PERSON]]).all()
    with pytest.raises(ValueError, match="differ in shape"):
        count_instances(instances, found[1:], CITYSCAPES)


@pytest.fixture
def bonn(tmp_path: Path) -> Path:
    """One annotated image of Cityscapes, with a car and a person, and its map of instances."""
    train_ids = halves(ROAD, CAR, (32, 64))
    train_ids[:4, :4] = PERSON
    instances = CITYSCAPES.id_of_train_id[train_ids].astype(np.uint16)
    instances[instances > 23] *= 1000
    frames, labels = tmp_path / "leftImg8bit/val/bonn", tmp_path / "gtFine/val/bonn"
    for folder in (frames, labels):
        folder.mkdir(parents=True)
    (frames / f"{KEY}_leftImg8bit.png").write_bytes(encode_png(painted(train_ids)))
    label_ids = CITYSCAPES.id_of_train_id[train_ids].astype(np.uint8)
    (labels / f"{KEY}_gtFine_labelIds.png").write_bytes(encode_png(label_ids))
    cv2.imwrite(str(labels / f"{KEY}_gtFine_instanceIds.png"), instances)
    return tmp_path


def test_instances_lie_beside_the_labels(bonn: Path) -> None:
    options = DatasetOptions(root=bonn, split="val")
    dataset = open_labelled_frames("cityscapes", options)
    maps = find_instance_maps("cityscapes", options, [KEY])
    assert maps is not None
    report = evaluate(by_colour, dataset, Inference(), CPU, instance_maps=maps)
    assert report.scores["iiou"] == 1.0
    assert report.class_scores["person"]["iiou"] == 1.0
    assert np.isnan(report.class_scores["road"]["iiou"])
    assert find_instance_maps("camvid", options, [KEY]) is None
    path = bonn / "gtFine/val/bonn" / f"{KEY}_gtFine_instanceIds.png"
    path.write_bytes(encode_png(np.zeros((32, 64), np.uint8)))
    with pytest.raises(InputError, match="8-bit grey PNG map of instances, expected one 16-bit channel"):
        read_instance_ids(maps[KEY])
    cv2.imwrite(str(path), np.zeros((16, 64), np.uint16))
    report = evaluate(by_colour, dataset, Inference(), CPU, instance_maps=maps)
    assert "is of 16x64, its label map of 32x64" in report.failures[0].reason
    path.unlink()
    assert find_instance_maps("cityscapes", options, [KEY]) is None


def run(*args: object) -> Result:
    return CliRunner().invoke(evaluate_command, [str(arg) for arg in args], catch_exceptions=False)


def test_the_command_prints_json_or_tables(bonn: Path, weights: Path) -> None:
    result = run(weights, "--root", bonn, "--json", "--window", "32x48", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    scores = json.loads(result.stdout)
    assert scores["images"] == 1
    assert 0 <= scores["miou"] < 0.5
    assert scores["iiou"] is not None
    assert list(scores["classes"]) == list(CITYSCAPES.train_names)
    out = bonn / "scores.md"
    result = run(weights, "--root", bonn, "--band", 5, "--out", out, "--device", "cpu")
    assert out.read_text() == result.stdout
    assert "trimap mIoU, 5 px |" in result.stdout
    result = run(weights, "--root", bonn, "--band-shape", "square", "--device", "cpu")
    assert "trimap mIoU, 3 px square |" in result.stdout


def test_the_command_goes_on_without_a_damaged_image_and_exits_with_1(bonn: Path, weights: Path) -> None:
    frame = bonn / "leftImg8bit/val/bonn" / f"{KEY}_leftImg8bit.png"
    frame.write_bytes(frame.read_bytes()[:100])
    result = run(weights, "--root", bonn, "--json", "--device", "cpu")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["miou"] is None
    assert str(frame) in result.stderr


def test_the_command_line_is_checked_before_anything_is_read(weights: Path) -> None:
    assert "'2,x' is no list of numbers" in run(weights, "--root", "nowhere", "--scales", "2,x").stderr
    assert run(weights, "--root", "nowhere", "--scales", "0").exit_code == 2
    assert "scales must be one or more positive" in run(weights, "--root", "nowhere", "--scales", "0").stderr
    unknown = run(weights, "--root", "nowhere", "--architecture", "deepv3plus")
    assert (unknown.exit_code, unknown.stderr.endswith("; did you mean 'deepwv3plus'?\n")) == (2, True)


def test_classes_are_found_by_their_names(weights: Path, tmp_path: Path) -> None:
    assert open_trained(weights, CPU).classes == CITYSCAPES
    with pytest.raises(CheckpointError, match="scores 19 classes, class table 'camvid' has 11 that are trained"):
        open_trained(weights, CPU, classes=load_classes("camvid"))
    other = tmp_path / "other.safetensors"
    own = named_classes(("mud", "tree", *CITYSCAPES.train_names[2:]))
    save_network(other, build_network("mobilenetv2"), classes=own, about={})
    assert open_trained(other, CPU).classes == own, "the file holds it"
    with pytest.raises(CheckpointError, match="train id 0 is 'mud', there 'road'"):
        open_trained(other, CPU, classes=CITYSCAPES)
    with safe_open(other, framework="pt") as file:
        description = json.loads(file.metadata()["segtrain"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del description["classes"]
    save_file(tensors, other, metadata={"segtrain": json.dumps(description)})  # as files did not
    with pytest.raises(CheckpointError, match=r"19 classes \(mud, tree, .*no class table .*; say it by --classes"):
        open_trained(other, CPU)
    published = tmp_path / "published.pth"
    torch.save({"state_dict": build_network("mobilenetv2").state_dict()}, published)
    with pytest.raises(CheckpointError, match="does not say which classes it scores; say it by --classes"):
        open_trained(published, CPU, architecture="mobilenetv2")
    assert open_trained(published, CPU, architecture="mobilenetv2", classes=CITYSCAPES).network.num_classes == 19


def test_the_commands_do_not_wait_for_torch() -> None:
    script = "import sys, segtrain.cli.evaluate; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert process.stdout == "False\n"
