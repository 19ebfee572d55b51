"""The frames of a clip that labels are carried to, each with the ways to the annotated frames that they come from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from jobs.timing import Stopwatch
from propagate.carry.paths import CarryingPath
from propagate.carry.walk import Displacement, walk
from sdcnet.motion.estimator import MotionEstimator, Observation

Failing = Callable[[int], AbstractContextManager[None]]  # what goes wrong within is a failure of that offset


@dataclass(frozen=True)
class End:
    """An annotated frame of a clip: its offset, its key and its label map, [1,1,H,W] uint8."""

    offset: int
    key: str
    label: Tensor


@dataclass(frozen=True)
class Destination:
    """A frame at an offset of the clip, and how it moved since each annotated frame that it has labels of.

    The nearest is first; of two equally near the clip's own.
    """

    offset: int
    ways: tuple[tuple[End, Displacement], ...]


@dataclass(frozen=True, kw_only=True)
class Walker:
    """Walks away from annotated frames, as far as motion can be estimated.

    observations: by the clip's offsets; failing: hears of frames that cannot be reached, at their offset.
    """

    observations: Mapping[int, Observation]
    estimator: MotionEstimator
    path: CarryingPath
    history: str
    failing: Failing
    watch: Stopwatch

    def beside(self, end: End, direction: int) -> Iterator[Destination]:
        """The frames in `direction` (+1 or -1) of the clip's own annotated frame, nearest first."""
        return map(partial(_destination, end, {}), self._walked(end, direction))

    def between(self, end: End | None, beyond: End, reach: int) -> Iterator[Destination]:
        """The frames between the clip's own annotated frame, if that can be used, and the one beyond.

        reach: those that only one side comes to are at most so far from it. The displacements from beyond are there all
        at a time.
        """
        walked = self._walked(beyond, -1, last=1)
        far = {displacement.offset: (beyond, displacement) for displacement in walked}
        if end is not None:
            near = map(partial(_destination, end, far), self._walked(end, 1, last=beyond.offset - 1))
            yield from (place for place in near if len(place.ways) == 2 or place.offset <= reach)
        for offset in sorted(far):
            if beyond.offset - offset <= reach:
                yield Destination(offset, (far[offset],))

    def _walked(self, end: End, direction: int, last: int | None = None) -> Iterator[Displacement]:
        """The displacements up to that at the last offset, or to the first that is not there, or cannot be estimated.

        At the clip's offsets.
        """
        seen = {offset - end.offset: observation for offset, observation in self.observations.items()}
        steps = walk(seen, direction, self.estimator, self.path, self.history)
        offset = end.offset
        while offset != last and offset + direction in self.observations:
            offset += direction
            found = None
            with self.failing(offset), self.watch("motion"):
                found = next(steps)
            if found is None:
                return
            yield Displacement(offset, found.step, found.flow)
            del found


def _destination(end: End, others: dict[int, tuple[End, Displacement]], displacement: Displacement) -> Destination:
    """The frame at the end of a way, and of another one, which is taken from those that there are, if there is one."""
    offset = displacement.offset
    ways = [(end, displacement), *([others.pop(offset)] if offset in others else [])]
    return Destination(offset, tuple(sorted(ways, key=lambda way: abs(offset - way[0].offset))))
