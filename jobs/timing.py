"""Where the time goes."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds by stage, and how often it was: ``with watch("decode"): …``. Stages do not nest."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.times: dict[str, int] = defaultdict(int)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begin
            self.times[stage] += 1


class Durations:
    """How long something took, each time that it was done: within 1 %, in memory that does not grow with the times."""

    _STEP = math.log(1.02)

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()  # by the logarithm of seconds, in steps of 2 %

    def add(self, seconds: float) -> None:
        self._counts[round(math.log(max(seconds, 1e-7)) / self._STEP)] += 1

    def percentile(self, percent: float) -> float:
        """The seconds within which so many were done; NaN where nothing was."""
        left = percent / 100 * self._counts.total()
        for place in sorted(self._counts):
            left -= self._counts[place]
            if left <= 0:
                return math.exp(place * self._STEP)
        return math.nan
