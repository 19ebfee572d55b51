"""The units that wait for a worker, and the nodes that they are not to go to."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Turn:
    """The next try at ``units[index]``, the `number`-th.

    doubted: an earlier record was doubtful: this one counts, whatever it is. avoid: the node where that was made.
    """

    index: int
    number: int = 1
    doubted: bool = False
    avoid: str | None = None


class Queue:
    """The turns that wait, those that were tried before first."""

    def __init__(self, num_units: int) -> None:
        self._turns = deque(Turn(index) for index in range(num_units))

    def __len__(self) -> int:
        return len(self._turns)

    def again(self, turn: Turn) -> None:
        self._turns.appendleft(turn)

    def take(self, node: str) -> Turn | None:
        """The first turn that may be had on this node, if there is any; it waits no more."""
        turn = next((turn for turn in self._turns if turn.avoid != node), None)
        if turn is not None:
            self._turns.remove(turn)
        return turn

    def useless(self) -> set[str]:
        """The nodes that no turn may be had on: one, where all turns avoid it."""
        avoided = {turn.avoid for turn in self._turns}
        return {node for node in avoided if node is not None} if len(avoided) == 1 else set()

    def settle(self, nodes: Collection[str]) -> None:
        """Let turns go where they were before, if none of these nodes is another one."""
        self._turns = deque(turn if set(nodes) - {turn.avoid} else replace(turn, avoid=None) for turn in self._turns)
