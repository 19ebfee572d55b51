"""A network by its stages, of which only those are computed that are asked for and not known yet."""

from collections.abc import Iterable

from torch import Tensor

from jobs.registry import meant
from segtrain.models.network import IMAGE, SegmentationNetwork, Stage

LOGITS = "logits"


class Parts:
    """The stages of a network by name.

    `late` are those of which the decoder reads what lies beyond the network's first cut: what is worth keeping from one
    frame to the next, since all else of the decoder's is cheap.
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        self.stages: dict[str, Stage] = {stage.name: stage for stage in network.stages}
        self.names = tuple(self.stages)
        early = set(self.names[: 1 + self.names.index(network.cuts[0])]) if network.cuts else set()
        self.late = tuple(name for name in self.stages["decoder"].reads if name not in early | {IMAGE})

    def run(self, found: dict[str, Tensor], wanted: str = LOGITS) -> tuple[str, ...]:
        """Work out what the wanted stage gives, from what is found already, and add to that all that was computed.

        found: what stages give, by name, and the frame as IMAGE. Returns the stages that were computed, in order.
        """
        needed = self.needed(found, wanted)
        for name in needed:
            stage = self.stages[name]
            found[name] = stage.run(*[found[read] for read in stage.reads])
        return needed

    def needed(self, found: Iterable[str], wanted: str = LOGITS) -> tuple[str, ...]:
        """The stages to be computed, in order: the wanted one, those it reads, and those they read, if not found."""
        found, needed = set(found), set[str]()
        waiting = [wanted]
        while waiting:
            name = waiting.pop()
            if name not in found and name not in needed:
                needed.add(name)
                waiting += self.stages[name].reads
        return tuple(name for name in self.names if name in needed)

    def following(self, names: Iterable[str]) -> set[str]:
        """The stages that read what these give, directly or through others."""
        found = set(names)
        for name in self.names:
            if not found.isdisjoint(self.stages[name].reads):
                found.add(name)
        return found.difference(names)

    def require(self, names: Iterable[str]) -> None:
        """Raises: ValueError for names of no stage."""
        for name in names:
            if name not in self.stages:
                raise ValueError(f"no stage '{name}'; known are {', '.join(self.names)}{meant(name, self.names)}")
