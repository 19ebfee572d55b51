"""Videos, folders of frames and pipes, segmented along a scheme, and written."""

import json
import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.steppers import RUNTIME
from helpers.videos import damaged, decoded, write_video

from jobs.timing import Stopwatch
from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from sdcnet.frames.video import VideoSequence
from sdcnet.motion.classical import Dis, NoMotion
from sdcnet.motion.estimator import ObservedPixels
from segtrain.cli.main import main
from segtrain.errors import DataError
from segtrain.prediction.video import VideoOutput
from segtrain.trained import open_trained
from segtrain.video import tiled
from segtrain.video.observations import observed
from segtrain.video.predict import predict_video
from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.sources import FolderSource, StreamSource, open_source
from segtrain.video.stepping import stepped
from segtrain.video.tiled import Tiling, open_stepper_of

CITYSCAPES = load_classes("cityscapes")


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
    assert (
        "ran: layer0 3, layer1 3, fine 3, layer2 3, layer3 3, layer4 3, context 3, decoder 3, logits 7\n"
        in result.stdout
    )
    heads, full, others = (line.split() for line in result.stdout.splitlines()[-3:])
    assert heads == ["median", "ms", "frames", "decode", "motion", "network"]
    assert full[:3] + full[4:5] == ["in", "full", "3", "-"]
    assert others[:2] == ["others", "4"]
    assert min(map(float, others[2:])) > 0


def test_what_is_found_comes_as_a_video_and_for_programs(weights: Path, tmp_path: Path) -> None:
    source, seen = tmp_path / "drive.mp4", tmp_path / "seen.mp4"
    write_video(source, "mpeg4", {}, 5)
    arguments = ("--scheme", "copy", "--interval", 2, "--out", tmp_path / "out", "--json")
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


def test_frames_may_be_seen_in_tiles(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiling = Tiling(tile=40, stride=40, scales=(0.5, 1.0))  # 1 tile, and 2x2
    monkeypatch.setattr(tiled, "PUBLISHED", tiling)
    write_video(tmp_path / "drive.mp4", "mpeg4", {}, 2)
    result = run(weights, tmp_path / "drive.mp4", "--scheme", "copy", "--tiles", "--out", tmp_path / "out")
    assert "2 frames segmented, 1 in full" in result.stdout
    assert "logits 10\n" in result.stdout
    network = open_trained(weights, RUNTIME).network
    stepper = open_stepper_of(network, SchemeSettings(name="copy"), tiling)
    frame = torch.from_numpy(decoded(tmp_path / "drive.mp4")[0]).permute(2, 0, 1)[None]
    (step,) = stepped(stepper, observed([ObservedPixels(frame)], Dis(), RUNTIME, Stopwatch()), RUNTIME, Stopwatch())
    expected = CITYSCAPES.id_of_train_id[step.labels.numpy()]
    np.testing.assert_array_equal(read(tmp_path / "out/pred/drive/000001.png"), expected)


def test_a_folder_of_frames_is_one_video_for_each_recording(weights: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), np.uint8)
    for number, (name, frame) in enumerate(zip(("a_8", "a_9", "a_10", "b_1", "b_2", "b_4"), frames, strict=True)):
        (tmp_path / "in" / "sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "sub" / f"{name}.png").write_bytes(encode_png(frame) if number != 1 else b"")
    arguments = ("--scheme", "copy", "--kinds", "pred,compose", "--out", tmp_path / "out")
    result = run(weights, tmp_path / "in", *arguments, exit_code=1)
    assert result.stderr.startswith(f"lost: 1 frame; the first: {tmp_path / 'in/sub/a_9.png'}: empty file")
    assert "5 frames segmented, 4 in full; 10 files written" in result.stdout
    copied = SchemeSettings(name="copy")
    for place in ([0], [2], [3, 4], [5]):  # apart: the lost frame, the recordings and the gap
        for number, labels in zip(place, labels_of(weights, frames[place], copied), strict=True):
            name = ("a_8", "a_9", "a_10", "b_1", "b_2", "b_4")[number]
            np.testing.assert_array_equal(read(tmp_path / "out" / "pred" / "sub" / f"{name}.png"), labels)


def test_images_that_would_be_written_over_each_other_are_refused(tmp_path: Path) -> None:
    for name in ("f0.png", "f1.png", "f0.jpg"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"f0\.png and .*f0\.jpg: both would be written as f0; segment them into"):
        FolderSource(tmp_path)


def test_what_is_damaged_in_a_video_is_lost_and_the_rest_goes_on(weights: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", "mpeg4", {"g": "6"}, 20)
    source, seen = damaged(tmp_path / "a.mp4", 8), tmp_path / "seen.mp4"
    arguments = ("--scheme", "copy", "--interval", 50, "--out", tmp_path / "out", "--video", seen)
    result = run(weights, source, *arguments, exit_code=1)
    assert result.stderr.startswith("lost: 4 frames; the first: a damaged packet")
    assert "frames 8…11 are lost; read on at the next key frame, 12" in result.stderr
    assert "16 frames segmented, 2 in full; 16 files written" in result.stdout  # it begins anew after the gap
    numbers = [*range(8), *range(12, 20)]
    names = [path.stem for path in sorted((tmp_path / "out" / "pred" / "damaged").iterdir())]
    assert names == [f"{number:06d}" for number in numbers]
    with av.open(str(seen)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    assert times == pytest.approx([number / 25 for number in numbers])  # each is shown when it is due


def test_a_truncated_video_is_segmented_as_far_as_it_goes(weights: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", "mpeg4", {"g": "12"}, 40)
    source = tmp_path / "cut.avi"
    source.write_bytes((tmp_path / "a.avi").read_bytes()[: int((tmp_path / "a.avi").stat().st_size * 0.8)])
    result = run(weights, source, "--out", tmp_path / "out", "--video", tmp_path / "seen.mp4", exit_code=1)
    num_files = len(list((tmp_path / "out" / "pred" / "cut").iterdir()))
    assert 15 < num_files < 39
    assert len(decoded(tmp_path / "seen.mp4")) == num_files
    assert f"lost: {40 - num_files} frames; the first: ends early" in result.stderr


def test_another_size_in_the_middle_begins_anew_in_another_video(weights: Path, tmp_path: Path) -> None:
    source, seen = tmp_path / "both.h264", tmp_path / "seen.mp4"
    parts = [(tmp_path / f"{place}.h264", size) for place, size in enumerate([(48, 64), (64, 80), (48, 64)])]
    for path, size in parts:
        write_video(path, "libx264", {"bf": "0"}, 4, size)
    source.write_bytes(b"".join(path.read_bytes() for path, _ in parts))
    result = run(weights, source, "--scheme", "copy", "--out", tmp_path / "out", "--video", seen)
    assert "12 frames segmented, 3 in full" in result.stdout
    for path, (_, size) in zip((seen, tmp_path / "seen_2.mp4", tmp_path / "seen_3.mp4"), parts, strict=True):
        assert decoded(path).shape == (4, *size, 3)
        assert f"{path}: a video" in result.stdout
    assert read(tmp_path / "out/pred/both/000006.png").shape == (64, 80)
    later = tmp_path / "later.mp4"
    later.with_name("later_2.mp4").write_bytes(b"another")
    refused = run(weights, source, "--out", tmp_path / "again", "--video", later, exit_code=1)
    assert "later_2.mp4: is there already" in refused.stderr
    assert len(decoded(later)) == 4  # what was written before is kept


def test_what_fails_leaves_what_was_written_before_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", "mpeg4", {}, 8)
    estimates = iter([*[torch.zeros(1, 2, 48, 64)] * 4, torch.full((1, 2, 48, 64), torch.nan)])
    monkeypatch.setattr(NoMotion, "estimate", lambda *_: iter([next(estimates)]))
    arguments = ("--scheme", "warp-scores", "--motion", "none", "--out", tmp_path / "out")
    result = run(weights, tmp_path / "a.mp4", *arguments, "--video", tmp_path / "seen.mp4", exit_code=1)
    assert result.stderr == "Error: frame 5: the network's scores are not finite; check the weights\n"
    assert len(list((tmp_path / "out" / "pred" / "a").iterdir())) == len(decoded(tmp_path / "seen.mp4")) == 5


def test_a_pipe_is_ended_from_outside(weights: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.ts", "mpeg2video", {"g": "6"}, 60)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "wb", buffering=0) as sender:
        sending = threading.Thread(target=sender.write, args=((tmp_path / "a.ts").read_bytes(),))
        sending.start()  # it stays open
        source, trained = StreamSource(pipe, "camera"), open_trained(weights, RUNTIME)
        stepper = open_stepper(trained.network, SchemeSettings(name="copy"))
        done: list[int] = []

        def stop(count: int) -> None:
            done.append(count)
            if len(done) == 5:
                source.stop()

        tally = predict_video(trained, source, stepper, NoMotion(), RUNTIME, tmp_path / "out", on_progress=stop)
        pipe.close()
    assert 5 <= tally.frames < 60
    assert len(list((tmp_path / "out" / "pred" / "camera").iterdir())) == tally.frames


def test_memory_does_not_grow_with_the_frames(weights: Path, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    source = tmp_path / "long.mkv"
    write_video(source, "mpeg4", {}, 1000, (64, 96))
    trained, memory, number = open_trained(weights, RUNTIME), list[int](), 0

    def look(count: int) -> None:
        nonlocal number
        number += count
        if number in (300, 1000):
            memory.append(psutil.Process().memory_info().rss)

    tally = predict_video(
        trained,
        open_source(source),
        open_stepper(trained.network, SchemeSettings(name="copy", interval=50)),
        NoMotion(),
        RUNTIME,
        tmp_path / "out",
        video=VideoOutput(tmp_path / "seen.mp4", Fraction(25), beside=True),
        on_progress=look,
    )
    assert (tally.frames, tally.full) == (1000, 20)
    assert memory[1] - memory[0] < 4 * 2**20, "a label map of each frame would be more"


def test_command_lines_that_make_no_sense(weights: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    assert "name that ends in .mp4" in run(weights, "a.mp4", *out, "--video", "a.avi", exit_code=2).stderr
    assert "--beside is of --video" in run(weights, "a.mp4", *out, "--beside", exit_code=2).stderr
    assert "'diff' is none of pred, rgb, compose" in run(weights, "a.mp4", *out, "--kinds", "diff", exit_code=2).stderr
    assert "does not exist, expected a video" in run(weights, tmp_path / "none.mp4", *out, exit_code=1).stderr
    assert "no images in this folder" in run(weights, tmp_path, *out, exit_code=1).stderr
    refused = run(weights, tmp_path, *out, "--scheme", "copy", "--chain", "recursive", exit_code=2)
    assert "scheme 'copy' has no --chain" in refused.stderr
    refused = run(weights, tmp_path, *out, "--motion", "sdcnet", exit_code=1)
    assert "motion 'sdcnet' is made of two frames before, and a scheme keeps one" in refused.stderr
