"""What a video came to: how many frames, what was computed for them, and how long that took."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.timing import Durations
from segtrain.video.sources import SourceFrame
from segtrain.video.stepping import Stepped

PERCENTS = (50, 90, 99)
STAGES = ("decode", "motion", "network")


@dataclass
class Tally:
    """What a video came to, so far. It takes the same memory after any number of frames.

    frames: those that were segmented; full: of them, those of which nothing came from a frame before. parts: how often
    each part of the network ran. lost: frames that could not be read; dropped: those that were there, and too many for
    the pace. files: images written. Times are those of a frame, by whether it was segmented in full: of `decode`,
    `motion` where it was estimated, `network`; and `latency`, from when a frame was due to when it was segmented.
    """

    frames: int = 0
    full: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    dropped: int = 0
    files: int = 0
    videos: tuple[Path, ...] = ()
    told: tuple[str, ...] = ()
    times: dict[bool, dict[str, Durations]] = field(
        default_factory=lambda: {is_full: {name: Durations() for name in STAGES} for is_full in (True, False)}
    )
    latency: Durations = field(default_factory=Durations)

    def add(self, frame: SourceFrame, step: Stepped, latency: float | None) -> None:
        self.frames += 1
        self.full += step.is_full
        self.parts.update(step.cost.ran)
        self.lost += frame.num_lost
        self.dropped += frame.num_dropped
        times = self.times[step.is_full]
        times["decode"].add(frame.decode_seconds)
        times["network"].add(step.seconds)
        if step.cost.motions:
            times["motion"].add(step.motion_seconds)
        if latency is not None:
            self.latency.add(latency)

    def milliseconds(self, is_full: bool) -> dict[str, float]:
        """The median of each stage; NaN where no frame had it."""
        return {name: 1000 * times.percentile(50) for name, times in self.times[is_full].items()}

    def latencies(self) -> dict[int, float]:
        """Milliseconds within which so many percent of frames were segmented after they were due."""
        return {percent: 1000 * self.latency.percentile(percent) for percent in PERCENTS}

    def to_json(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "full": self.full,
            "parts": dict(self.parts),
            "milliseconds": {"full": self.milliseconds(True), "others": self.milliseconds(False)},
            "latency": {str(percent): value for percent, value in self.latencies().items()},
            "lost": self.lost,
            "dropped": self.dropped,
            "files": self.files,
            "videos": [str(path) for path in self.videos],
            "told": list(self.told),
        }
