"""Schemes on the motion that a codec has found."""

import json
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.steppers import RUNTIME
from helpers.videos import write_video

from jobs.timing import Stopwatch
from propagate.data.images import encode_png
from sdcnet.motion.codec import CodecMotion
from sdcnet.motion.vectors import CellFlow
from segtrain.cli.main import main
from segtrain.video.live import live
from segtrain.video.observations import observed
from segtrain.video.sources import CodedSourceFrame, SourceFrame, VideoSource, open_source
from segtrain.video.stepper import Seen

SIZE = (48, 64)


def cells(dx: float, known: float = 1.0) -> CellFlow:
    """A flow of so many pixels to the right, of which the upper part is known."""
    is_known = torch.zeros(6, 8, dtype=torch.bool)
    is_known[: round(6 * known)] = True
    flow = torch.zeros(2, 6, 8)
    flow[0] = dx
    return CellFlow(flow * is_known, is_known, SIZE)


def coded(number: int, to_previous: CellFlow | None, *, size: tuple[int, int] = SIZE) -> CodedSourceFrame:
    pixels = torch.full((1, 3, *size), 90, dtype=torch.uint8)
    return CodedSourceFrame(number=number, name=str(number), pixels=pixels, to_previous=to_previous)


def seen_of(frames: list[CodedSourceFrame]) -> list[Seen]:
    return list(observed(frames, CodecMotion(), RUNTIME, Stopwatch()))


def test_the_motion_of_a_frame_is_its_codecs() -> None:
    _, seen = seen_of([coded(0, None), coded(1, cells(3.0, known=2 / 3))])
    assert not seen.is_new
    flow, known = seen.motion
    assert known[0, 0].tolist() == [[True] * 8] * 4 + [[False] * 8] * 2
    assert torch.equal(flow, torch.stack((torch.full((6, 8), 3.0), torch.zeros(6, 8)))[None])  # filled from around


def test_cells_that_do_not_part_the_frame_evenly_become_pixels() -> None:
    uneven = CellFlow(torch.ones(2, 6, 8), torch.ones(6, 8, dtype=torch.bool), (44, 60))
    _, seen = seen_of([coded(0, None, size=(44, 60)), coded(1, uneven, size=(44, 60))])
    flow, known = seen.motion
    assert (flow.shape, known.shape) == ((1, 2, 44, 60), (1, 1, 44, 60))
    assert (flow == 1).all()


def test_where_a_codec_finds_little_a_scene_begins() -> None:
    frames = [coded(0, None), coded(1, cells(1.0, known=0.5)), coded(2, cells(1.0, known=1 / 3)), coded(3, None)]
    assert [seen.is_new for seen in seen_of(frames)] == [True, False, True, False]


def test_two_steps_follow_each_cell_from_its_centre() -> None:
    earlier = cells(0.0)
    earlier.flow[0, :, 5:] = 7.0
    earlier.known[2] = False
    both = cells(9.0).after(earlier)
    assert both.flow[0, 0].tolist() == [9, 9, 9, 9, 16, 16, 16, 0]  # the last one leads out of the frame
    assert both.known.tolist() == [[row != 2] * 7 + [False] for row in range(6)]
    assert not both.flow[:, 2].any()
    assert not both.flow[1].any()


class Given(VideoSource):
    def __init__(self, frames: list[CodedSourceFrame]) -> None:
        super().__init__("given", Fraction(100), len(frames))
        self._given = [replace(frame, seconds=0.01 * frame.number) for frame in frames]

    def _frames(self):  # type: ignore[no-untyped-def]
        yield from self._given


def taken_over_a_gap(frames: list[CodedSourceFrame]) -> SourceFrame:
    """The last of these frames, when all between it and the first are dropped."""
    coming = live(Given(frames))
    next(coming)
    time.sleep(0.01 * len(frames) + 0.3)
    (last,) = coming
    assert last.num_dropped == len(frames) - 2
    return last


def test_vectors_of_dropped_frames_are_put_together() -> None:
    last = taken_over_a_gap([coded(0, None), coded(1, cells(1.0)), coded(2, cells(2.0)), coded(3, cells(4.0))])
    assert isinstance(last, CodedSourceFrame)
    assert last.to_previous is not None
    assert last.to_previous.flow[0, 0, :6].tolist() == [7] * 6


@pytest.mark.parametrize("without", [1, 2, 3])
def test_where_one_of_them_has_none_the_estimator_sees_the_whole_gap(without: int) -> None:
    frames = [coded(number, None if number in (0, without) else cells(2.0)) for number in range(4)]
    last = taken_over_a_gap(frames)
    assert isinstance(last, CodedSourceFrame)
    assert last.to_previous is None


def run(*args: object) -> Result:
    options = ("--scheme", "warp-scores", "--kinds", "none", "--motion", "codec", "--device", "cpu")
    return CliRunner().invoke(main, ["video", "predict", *map(str, args), *options], catch_exceptions=False)


def test_a_video_brings_its_motion_along(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "a.mp4", "mpeg4", {"g": "6"}, 10)
    (frame,) = [frame for frame in open_source(tmp_path / "a.mp4", with_vectors=True) if frame.number == 3]
    assert isinstance(frame, CodedSourceFrame)
    assert frame.to_previous is not None
    assert frame.to_previous.flow[0].median() == 1  # the texture moves to the left
    result = run(weights, tmp_path / "a.mp4", "--out", tmp_path / "o", "--json")
    tally = json.loads(result.stdout)
    assert (tally["frames"], tally["full"]) == (10, 1)
    assert "a frame has no motion vectors" in caplog.text  # the key frame at 6, where an encoder serves
    write_video(tmp_path / "b.mp4", "mpeg4", {"g": "600"}, 10)
    monkeypatch.setattr(CodecMotion, "estimate", None)  # which nobody asks
    assert json.loads(run(weights, tmp_path / "b.mp4", "--out", tmp_path / "o", "--json").stdout)["frames"] == 10


def test_a_video_without_vectors_says_so_and_is_served(weights: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", "libvpx-vp9", {}, 5)
    tally = json.loads(run(weights, tmp_path / "a.mkv", "--out", tmp_path / "o", "--json").stdout)
    assert (tally["frames"], tally["full"]) == (5, 1)
    assert tally["told"] == ["vp9 exports no motion vectors; estimate motion on the frames, or encode as MPEG-4"]


def test_frames_in_files_are_encoded_for_it_or_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encode_png(np.ascontiguousarray(texture[:, number : number + 64])))
    result = run(weights, tmp_path, "--out", tmp_path / "o")
    assert result.exit_code == 1
    assert "found frames without any: give a video, or have them made, with --transcode mpeg4" in result.stderr
    monkeypatch.setattr(CodecMotion, "estimate", None)  # each frame brings its motion
    arguments = (weights, tmp_path, "--out", tmp_path / "o", "--transcode", "mpeg4", "--json")
    assert json.loads(run(*arguments).stdout)["frames"] == 5
    second = list(open_source(tmp_path, transcodes=True))[1]
    assert isinstance(second, CodedSourceFrame)
    assert second.to_previous is not None
    assert second.to_previous.flow[0].median() == 1
