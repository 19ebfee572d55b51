"""Frames at the pace at which they are shown: what is not taken before the next one is due is dropped.

A dropped frame leaves a gap over which motion leads: estimators are given the frame that was dealt with last, and a
codec's motion is put together of that of all frames since then, if each has some.
"""

from collections.abc import Iterator
from dataclasses import replace
from threading import Condition, Thread
from time import perf_counter

from segtrain.errors import DataError
from segtrain.video.sources import CodedSourceFrame, SourceFrame, VideoSource

LONGEST_GAP = 10.0  # seconds between time stamps; a longer one, or one back in time, is no pause but another clock


def live(source: VideoSource) -> Iterator[SourceFrame]:
    """The frames of a source, each no sooner than it is due, and the last one that is due wherever several are.

    Raises: DataError for a source without time stamps; what reading it raises, once what was read is taken.
    """
    place = _Place()
    reader = Thread(target=_read, args=(source, place), name="live", daemon=True)
    reader.start()
    try:
        yield from place
    finally:
        source.stop()
        reader.join()


class Clock:
    """When frames are due, by the time of `perf_counter`: the first one when it has come, others after it by their
    time stamps.

    What opens a pipe reads some of it first, for as long as that takes to come: `waited` seconds, by which all frames
    are due earlier, or they would be late for ever. Later, bytes that came late move the clock: what was not there was
    not due.
    """

    def __init__(self) -> None:
        self._begin: float | None = None  # the time that stands for 0 seconds
        self._before = 0.0

    def due(self, seconds: float, came: float | None, waited: float) -> float:
        """seconds: the frame's time stamp. came: when the last bytes came that had to be waited for."""
        if self._begin is None:
            self._begin = perf_counter() - seconds - waited
            came = None
        elif not 0 <= seconds - self._before <= LONGEST_GAP:
            self._begin = perf_counter() - seconds
        self._before = seconds
        if came is not None:
            self._begin = max(self._begin, came - seconds)
        return self._begin + seconds


class _Place:
    """Room for one frame, which waits there to be taken, or for the next one to take its place."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._frame: SourceFrame | None = None
        self._ended = False
        self._error: Exception | None = None

    def put(self, frame: SourceFrame) -> None:
        with self._changed:
            self._frame = frame if self._frame is None else _instead(self._frame, frame)
            self._changed.notify()

    def end(self, error: Exception | None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def __iter__(self) -> Iterator[SourceFrame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frame is not None or self._ended)
                frame, self._frame = self._frame, None
                if frame is None:
                    if self._error is not None:
                        raise self._error
                    return
            yield frame


def _instead(dropped: SourceFrame, frame: SourceFrame) -> SourceFrame:
    """The frame, with what holds for it since the frame before the dropped one."""
    if isinstance(frame, CodedSourceFrame) and isinstance(dropped, CodedSourceFrame) and frame.to_previous is not None:
        earlier = None if frame.is_new else dropped.to_previous
        frame = replace(frame, to_previous=None if earlier is None else frame.to_previous.after(earlier))
    return replace(
        frame,
        is_key=dropped.is_key or frame.is_key,
        is_new=dropped.is_new or frame.is_new,
        num_lost=dropped.num_lost + frame.num_lost,
        num_dropped=dropped.num_dropped + 1 + frame.num_dropped,
    )


def _read(source: VideoSource, place: _Place) -> None:
    clock, error = Clock(), None
    try:
        for frame in source:
            if frame.seconds is None:
                raise DataError(f"{source.name}: its frames have no time stamps, so that none is due; leave --live out")
            due = clock.due(frame.seconds, source.came, source.waited)
            if source.stopped.wait(max(0.0, due - perf_counter())):
                break
            place.put(replace(frame, due=due))
    except Exception as failed:  # is raised where frames are taken
        error = failed
    place.end(error)
