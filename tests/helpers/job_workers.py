"""Workers for the tests: importable by Ray's processes, and by drivers that the tests start."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import UnfitNodeError
from jobs.pool.places import Share
from jobs.pool.units import Doubtful

LONG = 1800  # seconds: nobody waits for the end of that


class FullDisk(Exception):
    """Stands for an error of another package; it takes two arguments, as errors of some packages do."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.path, self.reason)


class OneWay(Exception):
    """An error that can be pickled, but not unpickled."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


class Locked(Exception):
    """An error that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Plain:
    """Takes whatever share of its node there is."""

    def __init__(self, share: Share) -> None:
        self.share = share


class CannotStart:
    def __init__(self, share: Share) -> None:  # noqa: ARG002
        raise FullDisk("weights.pt", "cannot be read")


class DiesAtStart:
    def __init__(self, share: Share) -> None:  # noqa: ARG002
        os.kill(os.getpid(), signal.SIGKILL)


class Square(Plain):
    def __call__(self, unit: int, attempt: str, report: Callable[[int], None]) -> tuple[int, str, int]:
        report(1)
        report(1)
        return unit**2, attempt, os.getpid()


class Traced(Plain):
    """Leaves a file per unit under way, and returns how many there were at most while it ran."""

    def __call__(self, unit: Path, attempt: str, report: Callable[[int], None]) -> int:  # noqa: ARG002
        mark = unit / attempt
        mark.touch()
        most = 0
        for _ in range(20):
            most = max(most, len(list(unit.iterdir())))
            time.sleep(0.005)
        mark.unlink()
        return most


class DiesUntil(Plain):
    """Kills its own process in the middle of a unit until `lives` attempts were made at it."""

    def __call__(self, unit: tuple[Path, int], attempt: str, report: Callable[[int], None]) -> list[str]:
        folder, lives = unit
        (folder / attempt).touch()
        attempts = sorted(path.name for path in folder.iterdir())
        report(5)
        if len(attempts) < lives:
            time.sleep(1.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return attempts


class Fails(Plain):
    def __call__(self, unit: str, attempt: str, report: Callable[[int], None]) -> str:  # noqa: ARG002
        if unit == "full":
            raise FullDisk("shard-00000.h5", "no space left")
        if unit == "one-way":
            raise OneWay("shard-00001.h5", "odd")
        if unit == "locked":
            raise Locked("a lock is in it")
        time.sleep(LONG)
        return unit


class Slow(Plain):
    """Reports a frame every tenth of a second, for half an hour; leaves a file in a folder, named by its process id."""

    def __call__(self, unit: Path, attempt: str, report: Callable[[int], None]) -> None:  # noqa: ARG002
        (unit / f"{os.getpid()}.pid").touch()
        for _ in range(10 * LONG):
            time.sleep(0.1)
            report(1)


class SlowUnlessShort(Slow):
    """Ends a unit called short as soon as another one is under way."""

    def __call__(self, unit: Path, attempt: str, report: Callable[[int], None]) -> None:
        if unit.name != "short":
            super().__call__(unit, attempt, report)
        while not list(unit.parent.glob("*.pid")):
            time.sleep(0.05)


@dataclass(frozen=True)
class Seeing:
    """Tells its node's name. Blind nodes are refused, ill ones kill it at its start, and dim ones' records are doubted.

    Who sees well waits for `gate`, a file that a dim one makes: other nodes may be slower to begin.
    """

    gate: Path
    blind: str = ""
    ill: str = ""
    dim: str = ""

    def __post_init__(self) -> None:
        if self._node in self.blind.split():
            raise UnfitNodeError("the data set is not there")
        if self._node in self.ill.split():
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def _node(self) -> str:
        return os.environ.get("NODE", "")

    def __call__(self, unit: int, attempt: str, report: Callable[[int], None]) -> str | Doubtful[str]:  # noqa: ARG002
        report(1)
        if self._node in self.dim.split():
            self.gate.touch()
            return Doubtful(self._node)
        while not self.gate.exists():
            time.sleep(0.05)
        return self._node


class Meets(Plain):
    """Ends a unit when as many units as it says are under way at one time."""

    def __call__(self, unit: tuple[Path, int], attempt: str, report: Callable[[int], None]) -> str:  # noqa: ARG002
        folder, num_units = unit
        (folder / attempt).touch()
        while len(list(folder.iterdir())) < num_units:
            time.sleep(0.05)
        return os.environ.get("NODE", "")


class StartsOn(Plain):
    """Says that it starts, by a file of its node's name in `folder`; on other nodes than `node` that never ends."""

    def __init__(self, folder: Path, node: str, share: Share) -> None:
        super().__init__(share)
        (folder / f"{os.environ['NODE']}-{os.getpid()}").touch()
        if os.environ["NODE"] != node:
            time.sleep(LONG)

    def __call__(self, unit: int, attempt: str, report: Callable[[int], None]) -> str:  # noqa: ARG002
        return os.environ["NODE"]
