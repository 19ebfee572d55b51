"""Exported trees in the hands of others: cityscapesScripts scores one as we do, and a list file reads the other."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from propagate.cli.main import main as propagate
from propagate.data.classes import load_classes
from propagate.data.images import decode_frame
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import found_dataset, open_dataset
from propagate.shards.reader import open_store
from segtrain.checkpoints import save_network
from segtrain.cli.main import main as segtrain
from segtrain.models.registry import build_network

CITYSCAPES = load_classes("cityscapes")


def call(program: object, *args: object) -> str:
    result = CliRunner().invoke(program, [str(arg) for arg in args])  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def shards(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six samples of two synthetic snippets, two of them annotated; unsure pixels are ignored."""
    out = tmp_path_factory.mktemp("other_readers") / "shards"
    arguments = ("--frames", 1, "--limit", 2, "--engine", "local", "--min-confidence", 0.5)
    call(propagate, "run", "--root", street, "--out", out, *arguments)
    return out


def test_cityscapes_scripts_give_the_scores_that_we_give(shards: Path, tmp_path: Path) -> None:
    judge = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    tree, weights, out = tmp_path / "tree", tmp_path / "network.safetensors", tmp_path / "out"
    call(propagate, "export", shards, tree, "--format", "cityscapes")
    torch.manual_seed(2)
    save_network(weights, build_network("mobilenetv2"), classes=CITYSCAPES, about={})
    of_tree = ("--root", tree, "--split", "train", "--device", "cpu")
    ours = json.loads(call(segtrain, "evaluate", weights, *of_tree, "--json"))
    call(segtrain, "predict", weights, *of_tree, "--out", out)

    truth = sorted(map(str, tree.glob("gtFine/train/*/*_gtFine_labelIds.png")))
    settings = Namespace(**vars(judge.args))
    settings.predictionPath, settings.predictionWalk = str(out / "pred"), None
    settings.evalInstLevelScore = settings.JSONOutput = False  # the tree has no instances
    settings.quiet = True
    theirs = judge.evaluateImgLists([judge.getPrediction(settings, each) for each in truth], truth, settings)

    assert ours["images"] == len(truth) == 6
    assert ours["miou"] == pytest.approx(theirs["averageScoreClasses"], abs=1e-12)
    scores = {name: theirs["classScores"][name] for name in CITYSCAPES.train_names}
    expected = {name: np.nan if each["iou"] is None else each["iou"] for name, each in ours["classes"].items()}
    assert expected == pytest.approx(scores, abs=1e-12, nan_ok=True)
    assert sum(score > 0 for score in scores.values()) > 1  # else both might count nothing


def test_a_list_file_of_segnet_reads_the_camvid_tree(shards: Path, tmp_path: Path) -> None:
    call(propagate, "export", shards, tmp_path, "--format", "camvid")
    samples = {sample.key: sample for sample in open_store(shards).samples()}
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    list_file = tmp_path / "train.txt"  # a line for each frame: the frame, a space, its label map
    list_file.write_text("".join(f"/train/{name} /trainannot/{name}\n" for name in names))
    pairs = [line.split() for line in list_file.read_text().splitlines()]
    assert len(pairs) == len(samples) == 6
    for frame, label in pairs:
        sample = samples[Path(frame).stem]
        image, indices = Image.open(f"{tmp_path}{frame}"), Image.open(f"{tmp_path}{label}")
        assert (image.mode, indices.mode, image.size) == ("RGB", "L", indices.size)
        np.testing.assert_array_equal(np.asarray(image), decode_frame(sample.image, sample.key))
        np.testing.assert_array_equal(np.asarray(indices), sample.label)
    assert found_dataset(DatasetOptions(root=tmp_path)) == "camvid"
    clips = open_dataset("camvid", DatasetOptions(root=tmp_path)).clips(1)
    assert {clip.key for clip in clips} == samples.keys()
