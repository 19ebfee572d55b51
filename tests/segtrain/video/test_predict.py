"""Videos, folders of frames and pipes, segmented along a scheme, and written."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.steppers import RUNTIME
from helpers.videos import decoded, write_video

from jobs.timing import Stopwatch
from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from sdcnet.frames.video import VideoSequence
from sdcnet.motion.classical import Dis
from sdcnet.motion.estimator import ObservedPixels
from segtrain.checkpoints import save_network
from segtrain.cli.main import main
from segtrain.models.registry import build_network
from segtrain.trained import open_trained
from segtrain.video.observations import observed
from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.stepping import stepped

CITYSCAPES = load_classes("cityscapes")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt nothing, of the Cityscapes classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_network(path, build_network("mobilenetv2"), classes=CITYSCAPES, about={})
    return path


def run(*args: object, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["video", "predict", *map(str, args), "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


def read(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return pixels if pixels.ndim == 2 else pixels[..., ::-1]


def labels_of(weights: Path, frames: np.ndarray, settings: SchemeSettings) -> list[np.ndarray]:
    """Label ids of frames [T,H,W,3], by a stepper alone."""
    watch = Stopwatch()
    stepper = open_stepper(open_trained(weights, RUNTIME).network, settings)
    seen = observed([ObservedPixels(torch.from_numpy(f).permute(2, 0, 1)[None]) for f in frames], Dis(), RUNTIME, watch)
    return [CITYSCAPES.id_of_train_id[step.labels.numpy()] for step in stepped(stepper, seen, RUNTIME, watch)]


def test_a_video_is_segmented_as_the_stepper_does(weights: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "drive.mp4", tmp_path / "out"
    write_video(source, "libx264", {"g": "12"}, 7)
    result = run(weights, source, "--scheme", "warp-scores", "--interval", 3, "--out", out)
    expected = labels_of(weights, decoded(source), SchemeSettings(name="warp-scores", interval=3))
    files = sorted((out / "pred" / "drive").iterdir())
    assert [path.name for path in files] == [f"{number:06d}.png" for number in range(7)]
    for path, labels in zip(files, expected, strict=True):
        np.testing.assert_array_equal(read(path), labels)
    assert f"{out}: 7 frames segmented, 3 in full; 7 files written" in result.stdout
    assert "ran: layer0 3, layer1 3, layer2 3, layer3 3, layer4 3, context 3, decoder 3, logits 7\n" in result.stdout
    heads, full, others = (line.split() for line in result.stdout.splitlines()[-3:])
    assert heads == ["median", "ms", "frames", "decode", "motion", "network"]
    assert full[:3] + full[4:5] == ["in", "full", "3", "-"]
    assert others[:2] == ["others", "4"]
    assert min(map(float, others[2:])) > 0


def test_what_is_found_comes_as_a_video_and_for_programs(weights: Path, tmp_path: Path) -> None:
    source, seen = tmp_path / "drive.mp4", tmp_path / "seen.mp4"
    write_video(source, "mpeg4", {}, 5)
    arguments = ("--scheme", "copy", "--interval", 2, "--motion", "none", "--out", tmp_path / "out", "--json")
    result = run(weights, source, *arguments, "--kinds", "none", "--video", seen, "--beside")
    tally = json.loads(result.stdout)
    assert {name: tally[name] for name in ("frames", "full", "lost", "dropped", "files", "videos", "told")} == {
        **{"frames": 5, "full": 3, "lost": 0, "dropped": 0, "files": 0},
        **{"videos": [str(seen)], "told": []},
    }
    assert tally["parts"]["logits"] == 3
    assert tally["milliseconds"]["others"]["motion"] is None  # a copy asks for none
    assert not (tmp_path / "out").exists()
    frames = decoded(seen)
    assert frames.shape == (5, 48, 128, 3)
    assert VideoSequence(seen).rate == 25
    assert np.abs(frames[:, :, :64].astype(int) - decoded(source)).mean() < 12
    assert "seen.mp4: is there already" in run(weights, source, *arguments, "--video", seen, exit_code=1).stderr


def test_a_folder_of_frames_is_one_video_for_each_recording(weights: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), np.uint8)
    for number, (name, frame) in enumerate(zip(("a_8", "a_9", "a_10", "b_1", "b_2", "b_4"), frames, strict=True)):
        (tmp_path / "in" / "sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "sub" / f"{name}.png").write_bytes(encode_png(frame) if number != 1 else b"")
    arguments = ("--scheme", "copy", "--motion", "none", "--kinds", "pred,compose", "--out", tmp_path / "out")
    result = run(weights, tmp_path / "in", *arguments, exit_code=1)
    assert result.stderr.startswith(f"lost: 1 frame; the first: {tmp_path / 'in/sub/a_9.png'}: empty file")
    assert "5 frames segmented, 4 in full; 10 files written" in result.stdout
    copied = SchemeSettings(name="copy")
    for place in ([0], [2], [3, 4], [5]):  # apart: the lost frame, the recordings and the gap
        for number, labels in zip(place, labels_of(weights, frames[place], copied), strict=True):
            name = ("a_8", "a_9", "a_10", "b_1", "b_2", "b_4")[number]
            np.testing.assert_array_equal(read(tmp_path / "out" / "pred" / "sub" / f"{name}.png"), labels)


def test_command_lines_that_make_no_sense(weights: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    assert "name that ends in .mp4" in run(weights, "a.mp4", *out, "--video", "a.avi", exit_code=2).stderr
    assert "--beside is of --video" in run(weights, "a.mp4", *out, "--beside", exit_code=2).stderr
    assert "'diff' is none of pred, rgb, compose" in run(weights, "a.mp4", *out, "--kinds", "diff", exit_code=2).stderr
    assert "does not exist, expected a video" in run(weights, tmp_path / "none.mp4", *out, exit_code=1).stderr
    assert "no images in this folder" in run(weights, tmp_path, *out, exit_code=1).stderr
    refused = run(weights, tmp_path, *out, "--scheme", "copy", "--chain", "composed", exit_code=2)
    assert "scheme 'copy' has no --chain" in refused.stderr
