"""Which steps an epoch has: epochs may differ in length, as when propagated samples are left out of the later ones."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class Epochs:
    """How steps, counted from 0 over the whole training, fall into epochs.

    num_steps: of each epoch, 1 or more.
    """

    def __init__(self, num_steps: Sequence[int]) -> None:
        self._starts = list(accumulate(num_steps, initial=0))
        self._num_steps = num_steps

    @property
    def total(self) -> int:
        """Steps of all epochs."""
        return self._starts[-1]

    def place(self, step: int) -> tuple[int, int]:
        """The epoch that a step is of, and its number there; after the last step the next epoch, and 0."""
        epoch = bisect_right(self._starts, step) - 1
        return epoch, step - self._starts[epoch]

    def position(self, step: int) -> float:
        """In epochs, a fraction on the way. step: before the end."""
        epoch, within = self.place(step)
        return epoch + within / self._num_steps[epoch]
