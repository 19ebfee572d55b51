"""Progress of long work: a bar on a terminal, now and then a line in a log. Always on stderr."""

import sys
import time
from dataclasses import dataclass
from types import TracebackType

import click
from tqdm import tqdm

_LOG_EVERY = 15.0  # seconds


class Progress:
    """Counts `unit`s towards `total`, which may be set later than the start, or stay 0: unknown. Use as a context."""

    def __init__(self, unit: str, total: int = 0) -> None:
        self._unit, self._total, self._done = unit, total, 0
        self._begin = self._last_line = time.monotonic()
        self._bar: tqdm | None = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=self._total, unit=f" {self._unit}", unit_scale=self._unit == "bytes", file=sys.stderr
            )
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def expect(self, total: int) -> None:
        """Set how much is to come; what was done before does not count, and the clock starts anew."""
        self._total, self._done = total, 0
        self._begin = time.monotonic()
        if self._bar is not None:
            self._bar.reset(total)

    def advance(self, count: int) -> None:
        """So much more is done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last_line > _LOG_EVERY:
            self._last_line = time.monotonic()
            click.echo(self._line(), err=True)

    def say(self, line: str) -> None:
        """Print a line beside the bar."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            click.echo(line, err=True)

    def _line(self) -> str:
        rate = self._done / max(time.monotonic() - self._begin, 1e-9)
        if not self._total:
            return f"{self._done} {self._unit}, {rate:.2f} {self._unit}/s"
        left = (self._total - self._done) / rate if rate else 0.0
        return f"{self._done}/{self._total} {self._unit}, {rate:.2f} {self._unit}/s, {clock(left)} left"


@dataclass(frozen=True)
class Advance:
    """What a training reports as it goes: the steps done, of how many, and now and then a line for people.

    num_steps: 0 while it is not known, before the first step.
    """

    step: int
    num_steps: int
    line: str | None = None


class ShownAdvance:
    """Shows what a training reports: a crew that was started again reports steps again, which count once."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._done = progress, -1

    def __call__(self, advance: Advance) -> None:
        if advance.num_steps:
            self._count(advance)
        if advance.line:
            with tqdm.external_write_mode(file=sys.stderr):  # the bar makes room
                click.echo(advance.line, err=True)

    def _count(self, advance: Advance) -> None:
        if self._done < 0:
            self._progress.expect(advance.num_steps - advance.step)
        else:
            self._progress.advance(max(0, advance.step - self._done))
        self._done = max(self._done, advance.step)


def clock(seconds: float) -> str:
    """Seconds as H:MM:SS."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
