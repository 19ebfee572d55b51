"""Videos read forward: every frame once, the vectors that may be used, and a sentence for whatever goes wrong."""

import io
import os
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.videos import damaged, decoded, packets, write_video

from sdcnet.errors import FrameError
from sdcnet.frames.exported import IS_FIRST, IS_KEY, NOT_EXPORTED, OTHER_REFERENCES
from sdcnet.frames.opening import is_cut_off
from sdcnet.frames.stream import NOT_ASKED_FOR, FrameStream, Incident, StreamedFrame

NUM_FRAMES = 40
ONE = {"g": "12", "bf": "0", "refs": "1", "weightp": "0"}


def read(source: object, **settings: bool) -> tuple[list[StreamedFrame], FrameStream]:
    stream = FrameStream(source, **settings)  # type: ignore[arg-type]
    return list(stream), stream


def made(tmp_path: Path, name: str, codec: str, options: dict[str, str], **settings: object) -> Path:
    write_video(tmp_path / name, codec, options, NUM_FRAMES, **settings)  # type: ignore[arg-type]
    return tmp_path / name


def piped(data: bytes) -> int:
    """What gives these bytes, to be read from; whoever writes there stops where nobody reads any more."""
    reading, writing = os.pipe()

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
            pipe.write(data)

    threading.Thread(target=write, daemon=True).start()
    return reading


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "mpeg4", {"g": "12"}),
        ("a.avi", "mpeg4", {"g": "12", "bf": "2"}),
        ("a.mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
        ("a.ts", "mpeg2video", {"g": "12"}),
        ("a.mkv", "libvpx-vp9", {}),
    ],
)
def test_every_frame_is_that_of_plain_decoding(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    path = made(tmp_path, name, codec, options)
    frames, stream = read(path)
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in frames]), decoded(path))
    assert [frame.number for frame in frames] == list(range(NUM_FRAMES))
    assert [frame.seconds for frame in frames] == pytest.approx([0.04 * n for n in range(NUM_FRAMES)], abs=2e-3)
    assert {frame.without_vectors for frame in frames} == {NOT_ASKED_FOR}
    assert stream.ending is None
    assert not any(frame.incidents for frame in frames)


def test_vectors_lead_to_the_frame_before_or_are_left_out(tmp_path: Path) -> None:
    plain, _ = read(made(tmp_path, "p.mp4", "mpeg4", {"g": "12"}), with_vectors=True)
    assert [frame.number for frame in plain if frame.is_key] == [0, 12, 24, 36]
    assert [frame.without_vectors for frame in plain] == [IS_KEY if n % 12 == 0 else None for n in range(NUM_FRAMES)]
    assert plain[5].vectors is not None
    moved = plain[5].vectors["motion_x"] / plain[5].vectors["motion_scale"]
    assert np.median(moved) == 1  # the texture moves to the left, so its content was further to the right

    with_b, _ = read(made(tmp_path, "b.mp4", "mpeg4", {"g": "12", "bf": "2"}), with_vectors=True)
    assert {frame.without_vectors for frame in with_b} == {IS_KEY, OTHER_REFERENCES}


@pytest.mark.parametrize(
    ("options", "num_used"),
    [
        (ONE, 36),
        ({**ONE, "weightp": "2"}, 36),  # one frame, listed twice
        ({**ONE, "slices": "3"}, 36),
        ({**ONE, "refs": "4"}, 4),  # the first after each key frame has nothing else to refer to
        ({**ONE, "x264-params": "interlaced=1"}, 0),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "ts"])
def test_h264_has_vectors_where_its_headers_say_that_there_is_one_reference(
    tmp_path: Path, options: dict[str, str], num_used: int, ending: str
) -> None:
    frames, _ = read(made(tmp_path, f"a.{ending}", "libx264", options), with_vectors=True)
    assert [frame.number for frame in frames if frame.is_key] == [0, 12, 24, 36]
    used = [frame.vectors for frame in frames if frame.vectors is not None]
    assert len(used) == num_used
    assert all(np.median(records["motion_x"] / records["motion_scale"]) == 1 for records in used)
    rest = {frame.without_vectors for frame in frames if frame.vectors is None and not frame.is_key}
    assert rest == ({OTHER_REFERENCES} if num_used < 36 else set())


@pytest.mark.parametrize(
    "options", [{"bf": "1"}, {"bf": "2"}, {"bf": "5", "x264-params": "b-pyramid=normal:b-adapt=0"}]
)
def test_with_b_frames_only_what_precedes_them_has_vectors(tmp_path: Path, options: dict[str, str]) -> None:
    options = {"g": "12", "refs": "1", **options}
    frames, _ = read(made(tmp_path, "a.mp4", "libx264", options), with_vectors=True)
    for frame in frames:
        if frame.vectors is not None:
            assert np.median(frame.vectors["motion_x"] / frame.vectors["motion_scale"]) == 1
    assert sum(frame.vectors is not None for frame in frames) < 12


def test_a_codec_without_vectors_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = made(tmp_path, "a.mkv", "libvpx-vp9", {})
    frames, _ = read(path, with_vectors=True)
    assert {frame.without_vectors for frame in frames} == {IS_KEY, NOT_EXPORTED}
    ((incident,),) = [frame.incidents for frame in frames if frame.incidents]
    assert incident.kind == "without vectors"
    sentence = "vp9 exports no motion vectors; estimate motion on the frames, or encode as MPEG-4"
    assert caplog.messages == [f"{path}: {sentence}"]


def test_a_pipe_is_read_as_it_comes(tmp_path: Path) -> None:
    path = made(tmp_path, "a.ts", "mpeg2video", {"g": "12"})
    expected, data = decoded(path), path.read_bytes()
    with os.fdopen(piped(data), "rb") as pipe:
        frames, stream = read(pipe, with_vectors=True)
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in frames]), expected)
    assert stream.ending is None
    assert frames[5].vectors is not None


def test_a_pipe_that_cannot_be_read_forward(tmp_path: Path) -> None:
    """Its index is at the end, and it is too large for what is kept of a pipe."""
    path = made(tmp_path, "a.mp4", "libx264", {"crf": "1"}, size=(96, 128))
    with os.fdopen(piped(path.read_bytes()), "rb") as pipe:
        sentence = r"the stream: no frame can be decoded \(Invalid data.*\); send a form that needs no look ahead: Matr"
        with pytest.raises(FrameError, match=sentence):
            read(pipe)


@pytest.mark.parametrize(
    ("name", "codec", "options", "zero"),
    [
        ("a.mp4", "mpeg4", {"g": "12"}, False),
        ("a.avi", "mpeg4", {"g": "12"}, False),
        ("a.mp4", "mpeg4", {"g": "12"}, True),
        ("a.mp4", "libx264", ONE, True),
    ],
)
def test_a_damaged_packet_costs_frames_up_to_the_next_key_frame(
    tmp_path: Path,
    name: str,
    codec: str,
    options: dict[str, str],
    zero: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = made(tmp_path, name, codec, options)
    frames, stream = read(damaged(path, 17, zero=zero), with_vectors=True)
    assert [frame.number for frame in frames] == [*range(17), *range(24, NUM_FRAMES)]
    expected = decoded(path)
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, expected[frame.number])
    ((incident,),) = [frame.incidents for frame in frames if frame.incidents]
    assert incident == Incident("lost", 17, 7, incident.sentence)
    assert frames[17].incidents == (incident,)
    assert "a damaged packet" in incident.sentence
    assert "frames 17…23 are lost; read on at the next key frame, 24" in incident.sentence
    assert any("at frame 17; waiting for a key frame" in message for message in caplog.messages)
    assert stream.ending is None
    assert frames[18].vectors is not None


def test_frames_that_were_decoded_before_the_damage_are_kept(tmp_path: Path) -> None:
    """With B-frames some are decoded, but not yet shown."""
    path = made(tmp_path, "a.mp4", "libx264", {"g": "12", "bf": "3"})
    frames, _ = read(damaged(path, 17, zero=True))
    numbers = [frame.number for frame in frames]
    assert numbers[:15] == list(range(15))
    assert numbers[-16:] == list(range(24, 40))
    expected = decoded(path)
    for frame in frames[-16:]:
        np.testing.assert_array_equal(frame.pixels, expected[frame.number])


@pytest.mark.parametrize("num_between", ["2", "3"])
@pytest.mark.parametrize("number", [13, 15, 17])
def test_frames_that_are_stored_after_their_key_frame_but_shown_before_it_count_too(
    tmp_path: Path, num_between: str, number: int
) -> None:
    """Whether or not the decoder gives them after damage: they lack what they are made of."""
    path = made(tmp_path, "a.mp4", "libx264", {"g": "12", "bf": num_between, "x264-params": "open-gop=1"})
    frames, stream = read(damaged(path, number, zero=True))
    numbers = [frame.number for frame in frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-12:] == list(range(NUM_FRAMES - 12, NUM_FRAMES))
    assert stream.ending is None
    expected = decoded(path)
    ((after, incident),) = [(frame.number, *frame.incidents) for frame in frames if frame.incidents]
    assert after == incident.number + incident.num_frames
    for frame in frames[numbers.index(after) :]:
        np.testing.assert_array_equal(frame.pixels, expected[frame.number])


@pytest.mark.parametrize(
    ("name", "codec", "options", "cause"),
    [
        ("a.mp4", "libx264", {**ONE, "movflags": "faststart"}, "a damaged packet"),
        ("a.avi", "mpeg4", {"g": "12"}, "a damaged packet"),
        ("a.mkv", "mpeg4", {"g": "12"}, "the file is cut off"),
    ],
)
def test_a_video_that_ends_early_is_used_as_far_as_it_goes(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = made(tmp_path, name, codec, options)
    cut = path.with_stem("cut")
    cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.8)])
    frames, stream = read(cut)
    assert 15 < len(frames) < NUM_FRAMES - 1
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in frames]), decoded(path)[: len(frames)])
    assert stream.ending is not None
    assert stream.ending.kind == "ends early"
    assert stream.ending.number == len(frames)
    assert caplog.messages[-1].startswith(f"{cut}: ends early ({cause}")
    assert caplog.messages[-1].endswith("those before are used")
    assert f"frames {len(frames)}…{NUM_FRAMES - 1} are not there" in caplog.messages[-1]


def test_a_file_that_lacks_no_frame_but_its_index_is_whole(tmp_path: Path) -> None:
    path = made(tmp_path, "a.mkv", "mpeg4", {"g": "12"})
    path.write_bytes(path.read_bytes()[:-20])
    assert is_cut_off(path)
    frames, stream = read(path)
    assert (len(frames), stream.ending) == (NUM_FRAMES, None)


@pytest.mark.parametrize("size", [b"\x01" + 7 * b"\xff", b"\xff", b"\x82"])
def test_only_what_says_how_long_it_is_can_be_cut_off(tmp_path: Path, size: bytes) -> None:
    """As what is written to a pipe, which cannot be gone back in; and a body of two bytes, which are there."""
    path = tmp_path / "a.mkv"
    start = b"\x1a\x45\xdf\xa3\x81\0" + b"\x18\x53\x80\x67" + size
    path.write_bytes(start + b"\0\0")
    assert not is_cut_off(path)
    path.write_bytes(start + b"\0")
    assert is_cut_off(path) == (size == b"\x82")
    path.write_bytes(start[:7])
    assert not is_cut_off(path)


def test_another_size_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [made(tmp_path, f"{n}.h264", "libx264", ONE, size=size) for n, size in enumerate([(48, 64), (64, 80)])]
    both = tmp_path / "both.h264"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, stream = read(both, with_vectors=True)
    assert [frame.size for frame in frames] == [(48, 64)] * NUM_FRAMES + [(64, 80)] * NUM_FRAMES
    (incident,) = frames[NUM_FRAMES].incidents
    assert incident.kind == "resized"
    sentence = "frame 40 has 64x80, those before 48x64; read on, as if another video began there"
    assert incident.sentence == sentence
    assert caplog.messages == [f"{both}: {sentence}"]
    assert stream.ending is None
    assert {frame.seconds for frame in frames} == {None}  # it holds no time stamps
    assert [frame.without_vectors for frame in frames[NUM_FRAMES : NUM_FRAMES + 2]] == [IS_KEY, None]


def test_what_is_not_shown_leads_nowhere(tmp_path: Path) -> None:
    """An edit list begins within a group of pictures: the frame before the first is decoded, but not shown."""
    options = {**ONE, "avoid_negative_ts": "disabled", "use_editlist": "1"}
    path = made(tmp_path, "a.mp4", "libx264", options, times=[4 * (n - 10) for n in range(NUM_FRAMES)])
    frames, stream = read(path, with_vectors=True)
    assert len(frames) == len(decoded(path)) == 30
    assert [frame.without_vectors for frame in frames[:4]] == [IS_FIRST, None, IS_KEY, None]
    assert stream.ending is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"no video", "cannot be opened as a video"), (b"", "cannot be opened as a video")],
)
def test_what_is_no_video_is_said(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    for source in (tmp_path / "a.mp4", io.BytesIO(content)):
        with pytest.raises(FrameError, match=sentence):
            FrameStream(source)


def test_a_video_of_which_nothing_can_be_decoded(tmp_path: Path) -> None:
    path = made(tmp_path, "a.mp4", "libx264", ONE)
    data = bytearray(path.read_bytes())
    for position, size in packets(path):
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(FrameError, match=r"no frame can be decoded \(a damaged packet.*\); copy it again"):
        read(path)


def test_numbers_and_vectors_of_a_long_stream_cost_no_memory(tmp_path: Path) -> None:
    """A stream that never ends: one video, over and over."""
    psutil = pytest.importorskip("psutil")
    data = made(tmp_path, "a.h264", "libx264", ONE).read_bytes()

    class Endless(io.RawIOBase):
        position = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            part = data[self.position : self.position + len(buffer)]
            buffer[: len(part)] = part
            self.position = (self.position + len(part)) % len(data)
            return len(part)

    stream = FrameStream(io.BufferedReader(Endless()), with_vectors=True)
    memory = []
    for frame in stream:
        if frame.number in (200, 433, 666, 899):
            memory.append(psutil.Process().memory_info().rss)
        if frame.number >= 899:
            break
    grown = [after - before for before, after in pairwise(memory)]
    assert min(grown) < 2**20  # what a process takes at once is no leak, which goes on
