"""Frames at the pace at which they are shown, and what becomes of those that come too fast."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers.drivers import PATIENCE, wait_for
from helpers.videos import decoded, write_video

from segtrain.errors import DataError
from segtrain.video.live import LONGEST_GAP, Clock, live
from segtrain.video.sources import SourceFrame, StreamSource, VideoSource

PERIOD = 0.01  # seconds


class Given(VideoSource):
    """A source of given frames; `error` is what comes after them."""

    def __init__(self, frames: list[SourceFrame], error: Exception | None = None) -> None:
        super().__init__("given", Fraction(100), len(frames))
        self._given, self._error = frames, error

    def _frames(self) -> Iterator[SourceFrame]:
        yield from self._given
        if self._error is not None:
            raise self._error


def frames(number: int, period: float = PERIOD) -> list[SourceFrame]:
    pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    return [SourceFrame(number=n, name=str(n), pixels=pixels, seconds=n * period) for n in range(number)]


def test_frames_are_taken_when_they_are_due_and_those_that_are_too_many_are_dropped() -> None:
    taken = []
    for frame in live(Given(frames(30))):
        assert frame.due is not None
        assert time.perf_counter() >= frame.due
        taken.append(frame)
        time.sleep(3.5 * PERIOD)
    numbers = [frame.number for frame in taken]
    assert (numbers[0], numbers[-1]) == (0, 29)
    assert 2 < len(numbers) < 20
    gaps = [after - before - 1 for before, after in pairwise(numbers)]
    assert [frame.num_dropped for frame in taken] == [0, *gaps]
    dues = {round(frame.due - frame.number * PERIOD, 6) for frame in taken if frame.due is not None}
    assert len(dues) == 1  # they are due by their time stamps, however many are dropped


def test_none_is_dropped_where_there_is_time() -> None:
    assert [frame.number for frame in live(Given(frames(5, period=0.3)))] == list(range(5))


def test_what_holds_for_a_dropped_frame_holds_for_the_next_that_is_taken() -> None:
    given = frames(12)
    given[5] = replace(given[5], is_new=True, is_key=True, num_lost=2)
    taken = []
    for frame in live(Given(given)):
        taken.append(frame)
        time.sleep(20 * PERIOD)  # all others wait, and the last of them stays
    assert [frame.number for frame in taken] == [0, 11]
    assert (taken[1].is_new, taken[1].is_key, taken[1].num_lost, taken[1].num_dropped) == (True, True, 2, 10)


def test_an_error_of_the_source_comes_after_its_frames() -> None:
    coming = live(Given(frames(3), DataError("broken")))
    assert [next(coming).number for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="broken"):
        next(coming)
    without = [replace(frame, seconds=None) for frame in frames(2)]
    with pytest.raises(DataError, match="given: its frames have no time stamps"):
        list(live(Given(without)))


def test_nobody_reads_on_once_nobody_takes() -> None:
    before = threading.active_count()
    coming = live(Given([replace(frame, seconds=frame.number * 5.0) for frame in frames(9)]))
    assert next(coming).number == 0
    coming.close()  # while the reader waits for 5 seconds to pass
    assert threading.active_count() == before


def test_the_clock_follows_time_stamps_and_waits_for_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("segtrain.video.live.perf_counter", lambda: now)
    clock = Clock()
    assert clock.due(7.0, None, 0) == 100  # the first one, whatever its time stamp says
    now = 105.0
    assert clock.due(7.5, None, 0) == 100.5  # as late as it is
    assert clock.due(8.0, 101.5, 1) == 101.5  # its bytes were not there before
    assert clock.due(8.5, 101.5, 1) == 102  # and those after it move along
    assert clock.due(8.5 + LONGEST_GAP + 1, None, 1) == 105  # another clock
    assert clock.due(3.0, None, 1) == 105
    assert clock.due(3.5, None, 1) == 105.5


def test_what_came_while_a_pipe_was_opened_was_due_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtrain.video.live.perf_counter", lambda: 100.0)
    clock = Clock()
    assert clock.due(0.0, 99.9, 1.0) == 99
    assert clock.due(1.5, 99.9, 1.0) == 100.5


def test_a_pipe_gives_frames_as_their_bytes_come_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    write_video(tmp_path / "a.ts", "mpeg2video", {"g": "6"}, 60)
    data = (tmp_path / "a.ts").read_bytes()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "wb", buffering=0) as sender:
        threading.Thread(target=sender.write, args=(data,)).start()
        source = StreamSource(pipe, "camera")
        taken = []
        for frame in live(source):
            taken.append(frame)
            if len(taken) == 5:
                begin = time.perf_counter()
                threading.Timer(0.6, source.stop).start()  # the sender stays, and is silent
        assert time.perf_counter() - begin < 5
    numbers = [frame.number for frame in taken]
    assert [frame.num_dropped for frame in taken] == [0, *(b - a - 1 for a, b in pairwise(numbers))]
    assert 5 <= len(taken) <= 60
    assert taken[3].name == f"camera/{numbers[3]:06d}"
    assert source.num_lost_at_end == 0
    assert not source.told


def test_ctrl_c_ends_a_pipe_without_an_end_and_what_was_written_is_whole(weights: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.ts", "mpeg2video", {"g": "6"}, 80)
    out, seen = tmp_path / "out", tmp_path / "seen.mp4"
    line = [sys.executable, "-m", "segtrain", "video", "predict", weights, "-", "--live", "--out", out, "--video", seen]
    command = [*map(str, line), "--scheme", "copy", "--device", "cpu"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        sender, process.stdin = process.stdin, None
        assert sender is not None
        sender.write((tmp_path / "a.ts").read_bytes())
        sender.flush()  # it stays open, and is silent
        wait_for(lambda: len(list(out.glob("pred/stream/*.png"))) >= 20 or process.poll() is not None, "twenty frames")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said, told = process.communicate(timeout=PATIENCE)
        sender.close()
    assert process.returncode == 130, told
    assert told.decode().endswith("Interrupted; what was written is whole.\n")
    num_files = len(list(out.glob("pred/stream/*.png")))
    assert said.decode().startswith(f"{out}: {num_files} frames segmented, ")
    assert len(decoded(seen)) == num_files
    assert not list(tmp_path.rglob("*.partial"))


def test_ctrl_c_ends_the_wait_for_the_first_bytes() -> None:
    reading, writing = os.pipe()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "wb"):  # of which nothing comes
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            StreamSource(pipe, "camera")
