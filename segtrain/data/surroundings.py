"""Which neighbours the crops of a training come with; no NumPy is needed to know it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Surroundings:
    """Which neighbours the crops of a training come with: one of `choices`, each the offsets of some that are shown
    together, and of those that its sample has any as likely as another.

    all_needed: samples that lack one of `offsets` cannot be used; otherwise those without any choice come alone.
    """

    choices: tuple[tuple[int, ...], ...] = ()
    all_needed: bool = True

    @property
    def offsets(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(offset for choice in self.choices for offset in choice))

    def possible(self, there: Sequence[int]) -> list[tuple[int, ...]]:
        """The choices of a sample that has neighbours `there`."""
        return [choice for choice in self.choices if set(choice) <= set(there)]

    def draw(self, there: Sequence[int], generator: "np.random.Generator") -> tuple[int, ...]:
        """The offsets to show of a sample that has neighbours `there`; none, where it has no choice."""
        possible = self.possible(there)
        return possible[int(generator.integers(len(possible)))] if possible else ()


NO_NEIGHBOURS = Surroundings()  # of a data set that was opened with none
ALONE = Surroundings(((),))  # of any data set


def around(gap: int, num_frames: int) -> Surroundings:
    """At a distance of 1 … gap, all alike likely: with 2 frames, a neighbour on either side; with 3, on both.

    Reference: Liu et al., ECCV 2020, whose published pairs leave out -gap.
    """
    distances = range(1, gap + 1)
    one = tuple((side * distance,) for distance in distances for side in (-1, 1))
    both = tuple((-distance, distance) for distance in distances)
    return Surroundings(one if num_frames == 2 else both, all_needed=False)
