"""`segtrain video calibrate`: what it says is what an adaptive clock then does."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from helpers.steppers import moving

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from segtrain.checkpoints import save_network
from segtrain.cli.main import main
from segtrain.models.registry import build_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_network(path, build_network("mobilenetv2"), classes=load_classes("cityscapes"), about={})
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of which the later ones move faster."""
    folder = tmp_path_factory.mktemp("frames")
    for number, pixels in enumerate([*moving(6, speed=1), *moving(12)[6:]]):
        (folder / f"{number:03d}.png").write_bytes(encode_png(pixels[0].permute(1, 2, 0).numpy()))
    return folder


def video(*args: object, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["video", *map(str, args), "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


@pytest.mark.parametrize("signal", ["feature", "pixels"])
def test_the_clock_fires_as_often_as_said(signal: str, weights: Path, frames: Path, tmp_path: Path) -> None:
    said = json.loads(video("calibrate", weights, frames, "--share", 0.4, "--signal", signal, "--json").stdout)
    assert said["num_frames"] == 11
    assert 0.4 <= said["share"] < 1
    options = ("--scheme", "adaptive-clockwork", "--signal", signal, "--threshold", said["threshold"])
    result = video("predict", weights, frames, *options, "--out", tmp_path / "out", "--kinds", "none")
    assert f"12 frames segmented, {1 + round(11 * said['share'])} in full" in result.stdout


def test_it_says_the_option(weights: Path, frames: Path) -> None:
    line = video("calibrate", weights, frames, "--limit", 5).stdout
    assert line.startswith("--threshold 0.")
    assert line.endswith("% of 4 frames in full\n")


def test_what_makes_no_sense_is_refused(weights: Path, frames: Path) -> None:
    refused = video("calibrate", weights, frames, "--share", 0, exit_code=2)
    assert "--share 0: give more than 0, and no more than 1" in refused.stderr
    refused = video("calibrate", weights, frames, "--signal", "argmax", exit_code=1)
    assert f"{frames}: this signal compares the classes at layer3, where mobilenetv2 has features" in refused.stderr
