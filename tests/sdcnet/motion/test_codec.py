"""Motion from a codec: the vectors of a video where they lead to the frame before, and what serves elsewhere."""

import logging
from pathlib import Path

import pytest
import torch
from helpers.videos import write_video
from torch import Tensor

from sdcnet.errors import MotionError
from sdcnet.evaluate import evaluate
from sdcnet.frames.transcoding import LARGEST_GROUP
from sdcnet.frames.video import VideoSequence
from sdcnet.motion import codec
from sdcnet.motion.classical import Dis
from sdcnet.motion.codec import CodecMotion
from sdcnet.motion.estimator import ObservedInVideo, ObservedPixels, Step
from sdcnet.motion.registry import MotionSettings, open_estimator
from sdcnet.motion.vectors import CellFlow

SIZE = (64, 96)
AHEAD = [Step((0,), 1), Step((1,), 2), Step((2,), 3)]
BACK = [Step((0,), -1), Step((-1,), -2)]


def texture(offset: int) -> Tensor:
    """Moves to the left by two pixels a frame."""
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 16, 40, generator=torch.Generator().manual_seed(0)) * 255, scale_factor=4, mode="bilinear"
    )
    start = 20 + 2 * offset
    return smooth[:, :, : SIZE[0], start : start + SIZE[1]].to(torch.uint8)


def told(value: float, size: tuple[int, int] = SIZE) -> CellFlow:
    flow = torch.full((2, size[0] // 8, size[1] // 8), value)
    return CellFlow(flow, torch.ones_like(flow[0], dtype=torch.bool), size)


def inner(flow: Tensor) -> Tensor:
    return flow[..., 16:-16, 16:-16]


def test_the_videos_own_vectors_serve_where_they_lead_to_the_frame_before() -> None:
    seen = {offset: ObservedInVideo(texture(offset), told(offset)) for offset in range(-2, 4)}
    for step, flow in zip(AHEAD, CodecMotion().estimate(seen, AHEAD), strict=True):
        assert torch.equal(flow, torch.full((1, 2, *SIZE), float(step.target)))
    for flow in CodecMotion().estimate(seen, BACK):  # what they tell leads the other way
        assert inner(flow)[0, 0].median() == -2
        assert inner(flow)[0, 1].median() == 0


def test_where_a_video_has_none_the_fallback_serves_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    seen = {offset: ObservedInVideo(texture(offset), told(offset) if offset == 2 else None) for offset in range(4)}
    estimator = CodecMotion()
    first, second, third = estimator.estimate(seen, AHEAD)
    assert inner(first)[0, 0].median() == inner(third)[0, 0].median() == 2
    assert torch.equal(second, torch.full((1, 2, *SIZE), 2.0))
    list(estimator.estimate(seen, AHEAD))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("2 of 3 frames have no motion vectors that surely lead to the frame before")
    assert caplog.messages[0].endswith("an encoder serves there, and wherever else it is so")

    (by_dis, *_), (expected, *_) = (list(each.estimate(seen, AHEAD)) for each in (CodecMotion(None, "dis"), Dis()))
    assert torch.equal(by_dis, expected)
    assert caplog.messages[1].endswith("DIS serves there, and wherever else it is so")


def test_steps_back_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        list(CodecMotion().estimate({n: ObservedInVideo(texture(n), None) for n in (0, -1, -2)}, BACK))
    assert caplog.messages == []


def test_halves_of_frames_have_half_the_flow() -> None:
    """The walk halves large frames; the vectors stay those of the whole ones."""
    half = torch.nn.functional.avg_pool2d(texture(1).float(), 2).to(torch.uint8)
    cells = told(0)
    cells.flow[:, :, 6:] = 6
    (flow,) = CodecMotion().estimate({0: ObservedPixels(half), 1: ObservedInVideo(half, cells)}, AHEAD[:1])
    assert flow.shape == (1, 2, 32, 48)
    assert (flow[..., :24].unique().tolist(), flow[..., 24:].unique().tolist()) == ([0], [3])


@pytest.mark.parametrize("steps", [AHEAD, BACK])
def test_transcoded_frames_need_no_video(steps: list[Step]) -> None:
    seen = {offset: ObservedPixels(texture(offset)) for offset in range(-2, 4)}
    for step, flow in zip(steps, CodecMotion("mpeg4").estimate(seen, steps), strict=True):
        assert inner(flow)[0, 0].median() == 2 * (step.target - step.source)


def test_a_long_walk_takes_several_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    transcoder = codec.Transcoder
    monkeypatch.setattr(codec, "Transcoder", lambda size: made.append(size) or transcoder(size))
    frames = [ObservedPixels(texture(n)) for n in range(2)]
    seen = {number: frames[number % 2] for number in range(LARGEST_GROUP + 20)}
    steps = [Step((number - 1,), number) for number in range(1, len(seen))]
    for step, flow in zip(steps, CodecMotion("mpeg4").estimate(seen, steps), strict=True):
        assert inner(flow)[0, 0].median() == (2 if step.target % 2 else -2)
    assert len(made) == 2


def test_frames_that_are_no_videos_are_refused() -> None:
    seen = {offset: ObservedPixels(texture(offset)) for offset in range(2)}
    with pytest.raises(
        MotionError, match=r"reads the motion vectors of videos, found frames without any: give a video, or"
    ):
        list(CodecMotion().estimate(seen, AHEAD[:1]))


def test_a_setting_without_effect_is_refused() -> None:
    with pytest.raises(MotionError, match="with --transcode all vectors are an encoder's, and nothing falls back"):
        open_estimator(MotionSettings(name="codec", transcode="mpeg4", fallback="dis"))
    with pytest.raises(MotionError, match="motion 'dis' has no setting transcode; leave it out"):
        MotionSettings(name="dis", transcode="mpeg4")


def test_the_fingerprint_says_what_serves_where() -> None:
    found, by_dis, encoded = (
        dict(open_estimator(MotionSettings(name="codec", **settings)).fingerprint)  # type: ignore[arg-type]
        for settings in ({}, {"fallback": "dis"}, {"transcode": "mpeg4"})
    )
    assert found.pop("libavcodec") == encoded.pop("libavcodec")
    assert found == {"motion": "codec", "vectors": "video", "fallback": "mpeg4", "negative_offsets": "mpeg4"}
    assert by_dis.pop("opencv")
    assert by_dis == {"motion": "codec", "vectors": "video", "fallback": "dis", "negative_offsets": "dis"}
    assert encoded == {"motion": "codec", "vectors": "mpeg4"}


def test_any_window_of_a_video_has_the_vectors_of_reading_it_from_the_start(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", "libx264", {"g": "12", "bf": "0", "refs": "1"}, 40)
    frames, vectors = VideoSequence(tmp_path / "a.mp4").frames_and_vectors(0, 40)
    assert [records is None for records in vectors] == [n % 12 == 0 for n in range(40)]
    sequence = VideoSequence(tmp_path / "a.mp4")
    assert torch.equal(sequence.frames(20, 22), frames[20:22])
    for start, stop in ((20, 24), (21, 26), (2, 5), (36, 40)):
        pixels, found = sequence.frames_and_vectors(start, stop)
        assert torch.equal(pixels, frames[start:stop])
        for mine, expected in zip(found, vectors[start:stop], strict=True):
            assert (mine is None and expected is None) or (mine == expected).all()


def test_a_video_is_scored_by_its_vectors_and_a_folder_is_not(tmp_path: Path, street: Path) -> None:
    write_video(tmp_path / "a.mp4", "mpeg4", {"g": "12", "qmin": "2", "qmax": "2"}, 30)
    scores = {
        name: evaluate([tmp_path / "a.mp4"], open_estimator(MotionSettings(name=name))).to_json()["psnr"]
        for name in ("codec", "none")
    }
    assert scores["codec"] > scores["none"] + 3
    (failure,) = evaluate([street], CodecMotion(), limit=2).failures
    assert "found frames without any" in failure.reason
    assert evaluate([street], CodecMotion("mpeg4"), limit=2).failures == []
