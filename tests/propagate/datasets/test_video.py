"""Videos with label maps of some of their frames: which clips there are, and that every frame is the right one."""

import pickle
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.videos import decoded, write_video

from propagate.data.clip import Clip
from propagate.data.images import encode_png
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.datasets.sides import two_sided
from propagate.datasets.video import Video
from propagate.errors import DatasetError, InputError
from sdcnet.frames.video import VideoSequence

NUM_FRAMES, SIZE = 40, (48, 64)


def label(root: Path, name: str) -> None:
    path = root / "labels" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.full(SIZE, 3, np.uint8)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_video(folder / "drive.mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}, NUM_FRAMES)
    (folder / "layout.yaml").write_text("classes: camvid\n")
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "root"))


def opened(root: Path) -> Video:
    dataset = open_dataset("video", DatasetOptions(root=root))
    assert isinstance(dataset, Video)
    return dataset


def test_a_clip_per_label_map_with_frames_by_their_numbers(root: Path) -> None:
    for name in ("drive/3.png", "drive/0020.png", "drive/39.png"):
        label(root, name)
    clips = opened(root).clips(5)
    assert [(clip.key, clip.group, min(clip.frames), max(clip.frames)) for clip in clips] == [
        ("drive_3", "drive", -3, 5),
        ("drive_20", "drive", -5, 5),
        ("drive_39", "drive", -5, 0),
    ]
    expected = decoded(root / "drive.mp4")
    for clip in clips:
        number = int(clip.key.removeprefix("drive_"))
        for offset in (*range(max(clip.frames), 0, -1), *range(min(clip.frames), 1)):  # in no order of a video's
            frame = pickle.loads(pickle.dumps(clip.frames[offset]))
            np.testing.assert_array_equal(frame.pixels(), expected[number + offset])
            assert (frame.key, frame.size(), frame.encoded()) == (f"drive_{number + offset}", SIZE, None)
    assert list(opened(root).labels(["drive_20", "drive_21"])) == ["drive_20"]


def test_only_the_neighbourhood_is_decoded_and_only_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label(root, "drive/20.png")
    (clip,) = opened(root).clips(2)
    windows = []
    frames = VideoSequence.frames
    monkeypatch.setattr(
        VideoSequence, "frames", lambda self, start, stop: windows.append((start, stop)) or frames(self, start, stop)
    )
    for offset in (0, 1, 2, -1, -2):
        clip.frames[offset].pixels()
    assert windows == [(18, 23)]


def test_a_clip_between_two_annotated_frames_is_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the frames of both windows, in whatever order they are asked for."""
    for name in ("drive/10.png", "drive/16.png"):
        label(root, name)
    clip, _ = two_sided(opened(root).clips(4), 4)
    windows = []
    frames = VideoSequence.frames
    monkeypatch.setattr(
        VideoSequence, "frames", lambda self, start, stop: windows.append((start, stop)) or frames(self, start, stop)
    )
    expected = decoded(root / "drive.mp4")
    for offset in (0, 6, 1, 5, 2, 4, 3, -1, 6, 0):
        np.testing.assert_array_equal(clip.frames[offset].pixels(), expected[10 + offset])
    assert windows == [(6, 15), (12, 21)]


@pytest.mark.parametrize(
    ("name", "number"), [("t0.png", 0), ("t0.4.png", 10), ("t0.41.png", 10), ("t0.43.png", 11), ("t1.57.png", 39)]
)
def test_a_time_means_the_nearest_frame(root: Path, name: str, number: int) -> None:
    label(root, f"drive/{name}")
    (clip,) = opened(root).clips(0)
    assert clip.key == f"drive_{number}"


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ["drive/t1.6.png"],
            r"t1\.6\.png: no frame within half a frame \(0\.020 s\) of 1\.6 s; the nearest is frame 39",
        ),
        (["drive/t0.4.png", "drive/10.png"], r"t0\.4\.png: the same frame, 10, as 10\.png"),
        (["drive/first.png"], r"first\.png: expected a name like 120\.png"),
        (["drvie/3.png"], r"drvie: no video of that name; there are drive"),
        ([], r"videos without labels: expected labels/<video>/<n>\.png"),
        (["drive/40.png"], r"no label map, or none of a frame that is there"),
    ],
)
def test_labels_that_do_not_fit_are_named(root: Path, names: list[str], sentence: str) -> None:
    for name in names:
        label(root, name)
    with pytest.raises(DatasetError, match=sentence):
        opened(root).clips(0)


def test_a_label_beyond_the_end_fails_alone(root: Path) -> None:
    label(root, "drive/3.png")
    label(root, "drive/40.png")
    there, beyond = opened(root).clips(1)
    assert sorted(there.frames) == [-1, 0, 1]
    assert (dict(beyond.frames), list(beyond.missing)) == ({}, [0])
    assert "drive.mp4 has no frame 40, only 0…39; remove the label map" in beyond.missing[0]


def test_a_root_that_is_none(root: Path) -> None:
    label(root, "drive/3.png")
    (root / "drive.avi").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"drive\.mp4: its frames would be called drive_…, as those of drive\.avi"):
        opened(root)
    (root / "drive.avi").unlink()
    (root / "drive:2.mp4").write_bytes(b"")
    (root / "drive-2.mp4").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"drive:2\.mp4: its frames would be called drive-2_…, as those of drive-2"):
        opened(root)
    (root / "layout.yaml").unlink()
    with pytest.raises(DatasetError, match=r"--dataset video needs --layout FILE or .*layout\.yaml, .*with classes"):
        opened(root)


def _only(root: Path) -> Clip:
    label(root, "drive/3.png")
    (clip,) = opened(root).clips(1)
    return clip


def test_a_video_that_changes_after_planning_is_noticed(root: Path) -> None:
    clip = _only(root)
    clip.frames[0].pixels()
    with (root / "drive.mp4").open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=r"drive\.mp4: has \d+ bytes now, \d+ when the run was planned"):
        clip.frames[0].pixels()
    (root / "drive.mp4").unlink()
    with pytest.raises(InputError, match=r"drive\.mp4: cannot be read \(No such file"):
        clip.frames[0].pixels()


def test_identity_is_of_the_content(root: Path) -> None:
    before = _only(root).frames[0].identity
    name, size, digest, number = before
    assert (name, size, number) == ("drive.mp4", (root / "drive.mp4").stat().st_size, 3)
    shutil.move(root / "drive.mp4", root / "drive.mov")
    shutil.move(root / "drive.mov", root / "drive.mp4")
    assert _only(root).frames[0].identity == before
    data = bytearray((root / "drive.mp4").read_bytes())
    data[data.index(b"mdat") + 100] ^= 1
    (root / "drive.mp4").write_bytes(data)
    assert opened(root).clips(1)[0].frames[0].identity[2] != digest


def test_frames_beside_a_damaged_one_are_read(root: Path) -> None:
    path = root / "cut.avi"
    write_video(path, "mjpeg", {}, 12)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    position, size = places[5]
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    label(root, "cut/4.png")
    (clip,) = (clip for clip in opened(root).clips(2) if clip.group == "cut")
    expected = VideoSequence(path)
    for offset in (0, -1, -2):
        np.testing.assert_array_equal(
            clip.frames[offset].pixels(), expected.frames(4 + offset, 5 + offset)[0].permute(1, 2, 0).numpy()
        )
    with pytest.raises(InputError, match=r"cut\.avi, frame 5: "):
        clip.frames[1].pixels()


@pytest.mark.parametrize(
    ("name", "options"),
    [("cut.mp4", {"movflags": "faststart"}), ("cut.mkv", {}), ("cut.avi", {})],
    ids=["mp4", "mkv", "avi"],
)
def test_a_truncated_video_is_used_up_to_the_cut(
    root: Path, name: str, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Every frame that is there is that of the whole video, bit for bit; what lacks is said, and fails alone."""
    path = root / name
    codec = "mpeg4" if name == "cut.avi" else "libx264"
    write_video(path, codec, {"g": "6", "bf": "2", **options}, NUM_FRAMES)
    expected, data = decoded(path), path.read_bytes()
    path.write_bytes(data[: len(data) * 17 // 20])
    num_left = len(VideoSequence(path))
    assert 11 < num_left < NUM_FRAMES
    caplog.clear()
    for number in (5, num_left - 2, num_left + 1):
        label(root, f"cut/{number}.png")
    inner, last, beyond = opened(root).clips(4)
    if name != "cut.mkv":  # which says nowhere how many frames there should be
        said = f"{path}: ends early: expected {NUM_FRAMES} frames, {num_left} are there and are used"
        assert set(caplog.messages) == {said}
    assert (sorted(inner.frames), sorted(last.frames)) == ([*range(-4, 5)], [*range(-4, 2)])
    for clip, number in ((inner, 5), (last, num_left - 2)):
        for offset, frame in clip.frames.items():
            np.testing.assert_array_equal(frame.pixels(), expected[number + offset])
    assert not beyond.frames
    assert f"{name} has no frame {num_left + 1}, only 0…{num_left - 1}; remove" in beyond.missing[0]


def test_a_split_without_effect_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    label(root, "drive/3.png")
    opened(root)
    assert not caplog.messages
    open_dataset("video", DatasetOptions(root=root, split="val"))
    assert caplog.messages == [
        f"{root}: --split val without effect, all annotated frames are taken: videos have no splits"
    ]
