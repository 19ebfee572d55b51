"""Frames by their number, from folders and videos; and what is said of those that cannot be used."""

import logging
import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from helpers.videos import decoded, write_video
from PIL import Image

from sdcnet.errors import FrameError
from sdcnet.frames import FrameSequence, open_sequences

SIZE = (48, 64)
NUM_FRAMES = 40
# container and codec; open-gop has frames that are shown before the key frame they depend on
VIDEOS: dict[str, tuple[str, dict[str, str]]] = {
    "closed.mp4": ("libx264", {"g": "12", "bf": "3", "movflags": "faststart"}),
    "open.mp4": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "mpeg4.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "mjpeg.avi": ("mjpeg", {}),
    "matroska.mkv": ("libx264", {"g": "12", "bf": "2"}),  # it does not say how many there are
    "mpeg2.mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "variable.mp4": ("libx264", {"g": "12", "bf": "3"}),
    "edited.mp4": ("libx264", {"g": "12", "bf": "2", "avoid_negative_ts": "disabled", "use_editlist": "1"}),
}
TIMES = {  # hundredths of a second; what is before 0, an edit list leaves out
    "variable.mp4": [n * 4 + n // 7 * 50 for n in range(NUM_FRAMES)],
    "edited.mp4": [4 * (n - 10) for n in range(NUM_FRAMES)],
}


def write_frame(path: Path, number: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), number, np.uint8)).save(path)


def window(sequence: FrameSequence, start: int, stop: int) -> np.ndarray:
    return sequence.frames(start, stop).permute(0, 2, 3, 1).numpy()


def first_levels(sequence: FrameSequence) -> list[int]:
    return sequence.frames(0, len(sequence))[:, 0, 0, 0].tolist()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, (codec, options) in VIDEOS.items():
        write_video(folder / name, codec, options, NUM_FRAMES, times=TIMES.get(name, ()))
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["f2.png", "f10.png", "f1.png", "f9.png"], [[1, 2], [9, 10]]),
        (["a_000_000010_leftImg8bit.png", "a_000_000012_leftImg8bit.png", "a_000_000016_leftImg8bit.png"], [[10, 12]]),
        (["a_0_1_x.png", "a_0_2_x.png", "a_1_3_x.png", "a_1_4_x.png"], [[1, 2], [3, 4]]),
        (["0016E5_07.jpg", "0016E5_08.jpg"], [[7, 8]]),
        (["a/1.png", "a/2.png", "b/3.png", "b/4.png", ".hidden/5.png", ".hidden/6.png"], [[1, 2], [3, 4]]),
        (["1.png", "2.png", "2.txt"], [[1, 2]]),
    ],
)
def test_names_tell_which_files_are_consecutive(tmp_path: Path, names: list[str], expected: list[list[int]]) -> None:
    for name in names:
        number = int(re.findall(r"\d+", name.removesuffix("_leftImg8bit.png"))[-1])
        if name.endswith(".txt"):
            (tmp_path / name).write_text("notes")
        else:
            write_frame(tmp_path / name, number)
    levels = [[*first_levels(sequence)] for sequence in open_sequences([tmp_path])]
    assert levels == expected


def test_frames_are_rgb_and_a_window_that_slides_reads_each_once(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((2, 3, 3), (number, 100, 200), np.uint8)).save(path)
    (sequence,) = open_sequences([tmp_path])
    assert (len(sequence), sequence.size) == (4, (2, 3))
    frames = sequence.frames(0, 3)
    assert frames.dtype == torch.uint8
    assert frames.shape == (3, 3, 2, 3)
    assert frames[2, :, 1, 1].tolist() == [2, 100, 200]
    for number in (1, 2):
        (tmp_path / f"{number}.png").unlink()
    assert sequence.frames(1, 4)[:, 0, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="has frames 0…3, asked for were 3…4"):
        sequence.frames(3, 5)


@pytest.mark.parametrize("name", VIDEOS)
def test_any_frame_of_a_video_is_that_of_decoding_from_the_start(videos: Path, name: str) -> None:
    expected = decoded(videos / name)
    (sequence,) = open_sequences([videos / name])
    assert len(expected) == sum(time >= 0 for time in TIMES.get(name, range(NUM_FRAMES)))
    assert len(sequence) == len(expected)
    starts = [*range(len(sequence) - 1), *random.Random(0).choices(range(len(sequence) - 1), k=20)]
    for start in starts:
        np.testing.assert_array_equal(window(sequence, start, start + 2), expected[start : start + 2])


def test_an_open_video_travels_to_other_processes(videos: Path) -> None:
    (sequence,) = open_sequences([videos / "closed.mp4"])
    before = sequence.frames(20, 22)
    other = pickle.loads(pickle.dumps(sequence))
    sequence.close()
    assert torch.equal(other.frames(20, 22), before)
    assert torch.equal(sequence.frames(20, 22), before)


@pytest.mark.parametrize("name", ["closed.mp4", "mpeg4.avi", "mjpeg.avi", "matroska.mkv"])
@pytest.mark.parametrize("share", [0.55, 0.8])
def test_a_video_that_ends_early_is_used_as_far_as_it_goes(
    videos: Path, tmp_path: Path, name: str, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    data = (videos / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(data[: int(len(data) * share)])
    with caplog.at_level(logging.WARNING):
        (sequence,) = open_sequences([cut])
    length = len(sequence)
    assert 5 < length < NUM_FRAMES
    assert window(sequence, 0, length) == pytest.approx(decoded(videos / name)[:length], abs=0)
    expected = "the file is cut off" if name.endswith(".mkv") else f"expected {NUM_FRAMES} frames"
    assert f"ends early: {expected}, {length}" in caplog.text


def text(path: Path) -> None:
    path.write_text("no frames")


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def without_times(path: Path) -> None:
    write_video(path, "libx264", {}, NUM_FRAMES)


def jumbled(path: Path) -> None:
    write_video(path, "libx264", {"bf": "3"}, NUM_FRAMES)  # AVI cannot say when such frames are shown


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.mp4", text, "cannot be opened as a video"),
        ("a.yaml", text, "a YAML file, expected a video; options in a file are given by --config"),
        ("a.m4a", sound, r"no video stream that can be decoded \(streams: audio\)"),
        ("a.h264", without_times, "its frames have no time stamps.*convert it"),
        ("a.avi", jumbled, "its time stamps do not tell the order of its frames; convert it"),
        ("one.png", write_frame, "a single image, expected a video or a folder"),
        ("absent", lambda _: None, "does not exist, expected a folder of frames or a video"),
        ("empty", Path.mkdir, "neither images nor videos in this folder, expected two consecutive frames"),
        ("one", lambda path: write_frame(path / "1.png"), "1 images of which no two are consecutive in this folder"),
    ],
)
def test_sources_without_frames_are_refused(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(FrameError, match=message) as caught:
        open_sequences([tmp_path / name])
    assert caught.value.path == str(tmp_path / name)


def grey(path: Path) -> None:
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def large(path: Path) -> None:
    write_frame(path, size=(50, 64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text, "cannot be read as an image"),
        (empty, r"empty file \(0 bytes\), expected an image"),
        (grey, "PNG image of mode L, expected 8-bit RGB"),
        (large, "a frame of 50x64, expected 48x64 as in .*1.png, of the same sequence"),
    ],
)
def test_images_that_are_no_frames_are_named(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    write_frame(tmp_path / "1.png")
    make(tmp_path / "2.png")
    with pytest.raises(FrameError, match=message) as caught:
        open_sequences([tmp_path])
    assert caught.value.path == str(tmp_path / "2.png")


def test_a_truncated_image_is_refused_when_it_is_read(tmp_path: Path) -> None:
    for number in (1, 2):
        write_frame(tmp_path / f"{number}.png")
    data = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(data[:-30])
    (sequence,) = open_sequences([tmp_path])
    with pytest.raises(FrameError, match=r"2.png: an image that cannot be decoded .*; copy or download it again"):
        sequence.frames(0, 2)
