"""The commands of segtrain in the folder of a data set: neither its root nor its layout need be named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from segtrain.checkpoints import save_network
from segtrain.cli.main import main
from segtrain.config import FitConfig
from segtrain.fit.sources import open_sources
from segtrain.models.registry import build_network

FILES = {
    "camvid": ("{split}/0001TP_{n:06d}.png", "{split}annot/0001TP_{n:06d}.png"),
    "folder": ("images/{split}/{n}.png", "masks/{split}/{n}.png"),
}
LAYOUT = "frames: 'images/{split}/{frame}.png'\nlabels: 'masks/{split}/{frame}.png'\nclasses: camvid\n"
CPU = ("--device", "cpu")


@pytest.fixture(params=FILES)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data set of CamVid's classes: a frame to train on and two to validate on."""
    root = tmp_path / request.param
    for split, numbers in (("train", (1,)), ("val", (2, 3))):
        for pattern, pixels in zip(FILES[request.param], (np.zeros((32, 48, 3)), np.zeros((32, 48))), strict=True):
            for number in numbers:
                path = root / pattern.format(split=split, n=number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_png(pixels.astype(np.uint8)))
    if request.param == "folder":
        (root / "layout.yaml").write_text(LAYOUT)
    return root


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "network.safetensors"
    classes = load_classes("camvid")
    network = build_network("mobilenetv2", num_classes=len(classes.train_names))
    save_network(path, network, classes=classes, about={})
    return path


def segtrain(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def said(root: Path) -> str:
    return f"{root}: a data set of the layout {root.name}\n"


def test_a_network_is_scored(root: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = segtrain("evaluate", weights, "--root", root, "--json", *CPU)
    assert (typed.exit_code, json.loads(typed.stdout)["images"], typed.stderr) == (0, 2, "")
    monkeypatch.chdir(root)
    found = segtrain("evaluate", weights, "--json", *CPU)
    assert (found.stdout, found.stderr) == (typed.stdout, said(root))


def test_a_network_is_used_and_a_source_counts_before_the_environment(
    root: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROPAGATE_ROOT", str(root))
    result = segtrain("predict", weights, "--out", tmp_path / "all", *CPU)
    assert (result.exit_code, result.stderr) == (0, said(root))
    assert len(list((tmp_path / "all" / "pred").iterdir())) == 2
    image = root / FILES[root.name][0].format(split="val", n=2)
    result = segtrain("predict", weights, image, "--out", tmp_path / "one", *CPU)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "one" / "pred").iterdir()] == [image.name]
    monkeypatch.setenv("PROPAGATE_ROOT", str(tmp_path))
    result = segtrain("predict", weights, "--out", tmp_path / "none", *CPU)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"no SOURCE, and {tmp_path}: no data set of a known layout" in result.stderr


def test_a_network_is_trained(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[FitConfig] = []

    def refuse(config: FitConfig, _: Any) -> None:
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("segtrain.fit.training.fit", refuse)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.chdir(root)
    assert said(root) in segtrain("fit", "--out", tmp_path / "run").stderr
    training, held_out = open_sources(seen[0])
    assert held_out is not None
    assert (len(training.records), len(held_out.records), seen[0].dataset) == (1, 2, root.name)
    assert root.name not in segtrain("fit", "--out", tmp_path / "run", "--shards", "store").stderr
    assert (seen[1].root, seen[1].dataset) == (None, None)  # a store alone is trained on without validation
    monkeypatch.setenv("PROPAGATE_ROOT", str(root))
    assert said(root) in segtrain("fit", "--out", tmp_path / "run", "--shards", "store").stderr
    assert (seen[2].root, seen[2].dataset) == (root, root.name)
    segtrain("fit", "--out", tmp_path / "run", "--shards", "store", "--root", "none")
    assert seen[3].root is None
    monkeypatch.setenv("PROPAGATE_ROOT", str(tmp_path))
    result = segtrain("fit", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert f"no --shards, and {tmp_path}: no data set of a known layout" in result.stderr


def test_two_layouts_that_fit_are_an_error(root: Path, weights: Path, tmp_path: Path) -> None:
    (root / "gtFine").mkdir()
    for line in (
        ("evaluate", weights),
        ("predict", weights, "--out", tmp_path / "out"),
        ("fit", "--out", tmp_path / "run"),
    ):
        result = segtrain(*line, "--root", root)
        assert result.exit_code == 1
        assert f"looks like cityscapes and like {root.name}; say which with --dataset" in result.stderr
