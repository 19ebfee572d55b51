"""The frames of a clip that labels are carried to, each with the ways to the annotated frames that they come from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

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
class Target:
    """A frame at an offset of the clip, and how it moved since each annotated frame that it has labels of.

    The nearest is first; of two equally near the clip's own.
    """

    offset: int
    ways: tuple[tuple[End, Displacement], ...]


@dataclass(frozen=True, kw_only=True)
class TargetFinder:
    """Walks away from annotated frames, as far as motion can be estimated.

    observations: by the clip's offsets; failing: hears of frames that cannot be reached, at their offset.
    """

    observations: Mapping[int, Observation]
    estimator: MotionEstimator
    path: CarryingPath
    history: str
    failing: Failing
    watch: Stopwatch

    def beside(self, end: End, direction: int) -> Iterator[Target]:
        """The frames in `direction` (+1 or -1) of the clip's own annotated frame, nearest first."""
        offsets = [offset for offset in self.observations if offset * direction > 0]
        for displacement in self._walked(end, direction, sorted(offsets, key=abs)):
            yield Target(displacement.offset, ((end, displacement),))

    def between(self, end: End, beyond: End, offsets: Sequence[int]) -> Iterator[Target]:
        """Those of the frames after the clip's own annotated frame that labels come to from it, or from both.

        offsets: where both do, if they can. Of these, the displacements from beyond are there all at a time.
        """
        reached = [offset for offset in range(beyond.offset - 1, offsets[0] - 1, -1) if offset in self.observations]
        far = {
            displacement.offset: displacement
            for displacement in self._walked(beyond, -1, reached)
            if displacement.offset in offsets
        }
        done = 0
        for displacement in self._walked(end, 1, [o for o in range(1, offsets[-1] + 1) if o in self.observations]):
            done = displacement.offset
            other = far.pop(done, None)
            ways = [(end, displacement)] if other is None else [(end, displacement), (beyond, other)]
            yield Target(done, tuple(sorted(ways, key=lambda way: abs(done - way[0].offset))))
        for offset in sorted(far):
            yield Target(offset, ((beyond, far[offset]),))

    def _walked(self, end: End, direction: int, offsets: Sequence[int]) -> Iterator[Displacement]:
        """The displacements at these offsets, which end with the first that cannot be estimated."""
        seen = {offset - end.offset: observation for offset, observation in self.observations.items()}
        steps = walk(seen, direction, self.estimator, self.path, self.history)
        for offset in offsets:
            found = None
            with self.failing(offset), self.watch("motion"):
                found = next(steps)
            if found is None:
                return
            yield Displacement(offset, found.step, found.flow)
            del found
