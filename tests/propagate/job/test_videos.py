"""The main job on a video and label maps of colours: nothing is extracted, and every frame is stored as it is."""

import errno
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.videos import decoded, write_drive

from propagate.data.images import decode_frame
from propagate.data.video_frame import VideoFrame
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.errors import UnreachableError
from propagate.shards.reader import open_store


def test_a_video_with_masks_in_colours(cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    write_drive(root, 30, ("10.png", "t0.8.png"))
    arguments = ("run", "--dataset", "video", "--root", root, "--out", out, "--frames", 2, "--engine", "local")
    process = cli(*arguments, "--json")
    assert process.returncode == 0, process.stderr
    summary = json.loads(process.stdout)
    assert (summary["clips"], summary["samples"], summary["failures"]) == (2, 10, [])
    expected, before = decoded(root / "drive.mp4"), {path.name for path in root.rglob("*")}
    for sample in open_store(out).samples():
        number = int(sample.key.removeprefix("drive_"))
        assert number - sample.offset in (10, 20)
        assert isinstance(sample.image, bytes)
        np.testing.assert_array_equal(decode_frame(sample.image, sample.key), expected[number])
        # the texture moves to the left by a pixel a frame, and its labels with it
        assert np.count_nonzero(sample.label[24] == 0) == 32 - sample.offset
    assert {path.name for path in root.rglob("*")} == before
    assert "nothing to do" in cli(*arguments).stdout
    (root / "drive.mp4").write_bytes((root / "drive.mp4").read_bytes() + b"\0")
    assert "the inputs of" in (again := cli(*arguments)).stderr, again.stderr


ONE_REFERENCE = {"g": "12", "bf": "0", "refs": "1", "crf": "18"}


@pytest.mark.parametrize("settings", [(), ("--fallback", "dis"), ("--transcode", "mpeg4")])
@pytest.mark.parametrize("options", [ONE_REFERENCE, None])
def test_labels_go_with_the_motion_of_the_codec(
    cli: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    settings: tuple[str, ...],
    options: dict[str, str] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    write_drive(root, 30, ("10.png",), options)
    arguments = ("--root", root, "--out", out, "--frames", 3, "--engine", "local", "--motion", "codec", *settings)
    process = cli("run", "--dataset", "video", *arguments)
    assert process.returncode == 0, process.stderr
    samples = list(open_store(out).samples())
    assert sorted(sample.offset for sample in samples) == [*range(-3, 4)]
    for sample in samples:
        assert np.count_nonzero(sample.label[24] == 0) == pytest.approx(32 - sample.offset, abs=1)
    said = any("have no motion vectors that surely lead to the frame before" in each for each in caplog.messages)
    assert said == ("--transcode" not in settings)  # frame 12 is a key frame


def test_frames_of_a_video_have_the_vectors_that_lead_to_the_one_before(tmp_path: Path) -> None:
    write_drive(tmp_path, 30, ("10.png",), ONE_REFERENCE)
    (clip,) = open_dataset("video", DatasetOptions(root=tmp_path)).clips(3)
    for offset in (0, 3, -3, 2):
        frame = clip.frames[offset]
        assert isinstance(frame, VideoFrame)
        pixels = frame.pixels()
        cells = frame.to_previous()
        if frame.number == 12:  # a key frame
            assert cells is None
        else:
            assert cells is not None
            assert cells.size == (48, 64)
            assert cells.flow[0].median() == 1
        np.testing.assert_array_equal(frame.pixels(), pixels)


def test_frames_in_files_have_no_vectors(
    cli: Callable[..., subprocess.CompletedProcess[str]], street: Path, tmp_path: Path
) -> None:
    arguments = ("run", "--root", street, "--out", tmp_path / "out", "--frames", 1, "--engine", "local", "--limit", 1)
    refused = cli(*arguments, "--motion", "codec")
    assert refused.returncode == 1
    assert "holds frames of data set 'cityscapes': have vectors made of them, with --transcode mpeg4" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert cli(*arguments, "--motion", "codec", "--transcode", "mpeg4").returncode == 0
    again = cli(*arguments, "--motion", "dis")
    assert again.returncode == 1
    assert "vectors" in again.stderr


def test_a_video_that_this_machine_cannot_reach_may_be_read_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_drive(tmp_path, 6, ("2.png",))
    [clip] = open_dataset("video", DatasetOptions(root=tmp_path)).clips(1)

    def forbidden(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("propagate.data.video_frame.open_regular", forbidden)
    with pytest.raises(UnreachableError, match=r"drive\.mp4: cannot be read \(Permission denied\)"):
        clip.frames[0].pixels()
