"""The command that finds a threshold, which another command then keeps to."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.steppers import moving, network_of

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from segtrain.checkpoints import save_network
from segtrain.cli.video import video

CITYSCAPES = load_classes("cityscapes")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Weights, and ten frames of which the last five do not move."""
    save_network(tmp_path / "weights.safetensors", network_of("resnet18", num_classes=19), classes=CITYSCAPES, about={})
    (tmp_path / "frames").mkdir()
    moved = moving(6)
    for number, frame in enumerate([*moved, *moved[-1:] * 4]):
        picture = encode_png(frame[0].permute(1, 2, 0).contiguous().numpy())
        (tmp_path / f"frames/a{number:02d}.png").write_bytes(picture)
    return tmp_path


def call(*args: object) -> str:
    result = CliRunner().invoke(video, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_is_calibrated_is_kept_to(place: Path) -> None:
    weights, frames = place / "weights.safetensors", place / "frames"
    line = call("calibrate", weights, frames, "--share", "0.5")
    assert line.startswith("--scheme adaptive-clockwork --signal feature --threshold ")
    found = json.loads(call("predict", weights, frames, *line.split(), "--out", place / "out", "--json"))
    threshold = float(line.split()[-1])
    # five frames of ten differ from those before; half of the nine that have one before them are five, at the least
    assert (found["frames"], found["full"]) == (10, 1 + 5)
    others = ("--cuts", "layer2,layer3", "--longest-wait", "2")
    line = call("calibrate", weights, frames, "--share", "0.1", *others)
    assert line.startswith(f"--scheme adaptive-clockwork --signal feature {' '.join(others)} --threshold ")
    found = json.loads(call("predict", weights, frames, *line.split(), "--out", place / "waits", "--json"))
    assert found["full"] == 1 + 4  # every other frame at the least
    said = json.loads(call("calibrate", weights, frames, "--json"))
    assert said == {"signal": "feature", "threshold": threshold, "share": 5 / 9, "num_frames": 9}


def test_what_makes_no_sense_is_refused(place: Path) -> None:
    weights, frames = place / "weights.safetensors", place / "frames"
    for option, sentence in (
        (("--share", "0"), "share must be above 0 and at most 1, found 0"),
        (("--signal", "argmax"), "this signal compares the classes at layer3, where resnet18 has features"),
    ):
        result = CliRunner().invoke(video, ["calibrate", str(weights), str(frames), *option])
        assert sentence in str(result.exception)
