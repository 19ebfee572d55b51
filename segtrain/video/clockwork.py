"""Clockwork: the stages of a network at clocks of their own; where one is not computed, its last output serves.

What no later stage reads is not computed even where the clock says so: then nothing would come of it.

Reference: Shelhamer et al., Clockwork Convnets for Video Semantic Segmentation, 2016.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Self

from torch import Tensor

from jobs.registry import meant
from segtrain.models.network import IMAGE, SegmentationNetwork
from segtrain.video.clocks import Adaptive, Fixed, StageClock
from segtrain.video.cost import stage_macs
from segtrain.video.parts import LOGITS, Parts
from segtrain.video.registry import SIGNALS, SchemeSettings
from segtrain.video.stepper import Cost, Seen


def clock_stages(network: SegmentationNetwork, cuts: Sequence[str] = ()) -> tuple[tuple[str, ...], ...]:
    """The network's stages up to its context, parted after those named as cuts: by default the network's own.

    Raises: ValueError for cuts after which the network cannot be cut.
    """
    names = [stage.name for stage in network.stages]
    names = names[: names.index("context") + 1]
    for cut in cuts:
        if cut not in names[:-1]:
            known = ", ".join(names[:-1])
            raise ValueError(
                f"{network.architecture} has no cut after '{cut}'; known are {known}{meant(cut, names[:-1])}"
            )
    places = [1 + names.index(cut) for cut in cuts or network.cuts]
    if places != sorted(set(places)):
        raise ValueError(f"cuts are in the order of the network, each once, found {', '.join(cuts)}")
    return tuple(tuple(names[begin:end]) for begin, end in pairwise([0, *places, len(names)]))


class Clocked:
    """What is held of the stages, and of which frame it is. One video: a batch of several has no common clock."""

    carries = False

    def __init__(self, network: SegmentationNetwork, num_stages: int, cuts: Sequence[str]) -> None:
        """Raises: ValueError for another number of stages than the cuts make, and as `clock_stages`."""
        self._network, self._parts = network, Parts(network)
        self._stages = clock_stages(network, cuts)
        if len(self._stages) != num_stages:
            raise ValueError(
                f"a clock of {num_stages} stages for {len(self._stages)} of {network.architecture}, which end with "
                f"{', '.join(stage[-1] for stage in self._stages)}; choose as many"
            )
        of = {name: number for number, stage in enumerate(self._stages) for name in stage}
        self._shared = {  # what a stage gives to another, or to what comes after all of them
            name for reader in network.stages for name in reader.reads if name in of and of[name] != of.get(reader.name)
        }
        self.reset()

    def reset(self) -> None:
        self._held: dict[str, Tensor] = {}
        self._from = [0] * len(self._stages)  # the number of the frame that each stage's output descends from
        self._since_full = 0

    def macs(self, size: tuple[int, int]) -> Mapping[str, int]:
        return stage_macs(self._network, size)

    def _is_full(self, seen: Seen) -> bool:
        """Whether the frame is computed in full, because nothing is known from before it."""
        if seen.image.shape[0] != 1:
            raise ValueError(f"a clock is of one video, found a batch of {len(seen.image)}; take a stepper for each")
        if seen.is_new:
            self.reset()
        return not self._held

    def _held_of(self, numbers: Iterable[int]) -> dict[str, Tensor]:
        """What is held of the stages of these numbers."""
        return {name: self._held[name] for number in numbers for name in self._stages[number] if name in self._held}

    def _hold(self, found: Mapping[str, Tensor]) -> None:
        self._held = {name: found[name] for name in self._shared if name in found}


class Clockwork(Clocked):
    """Stages at a clock's rates."""

    _mark: Tensor  # what the signal keeps of the last frame of which all stages were computed

    def __init__(
        self, network: SegmentationNetwork, clock: StageClock, cuts: Sequence[str] = (), signal: str | None = None
    ) -> None:
        """signal: of SIGNALS, for a clock that looks at frames. Raises: ValueError for what the network cannot do."""
        super().__init__(network, clock.num_stages, cuts)
        self._clock, self._signal = clock, None if signal is None else SIGNALS[signal]
        self._looks_at = IMAGE
        if self._signal is not None and len(self._stages) > 1:
            self._looks_at = self._signal.stage(network, self._stages[-2][-1])

    @property
    def phases(self) -> tuple[int, ...]:
        return self._clock.phases

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        is_full, found = self._is_full(seen), {IMAGE: seen.image}
        self._since_full += 1
        ran: tuple[str, ...] = ()
        difference = None
        if self._signal is not None:
            ran = self._parts.run(found, self._looks_at)
            mark = self._signal.seen(self._network, self._looks_at, found[self._looks_at], seen.image)
            difference = None if is_full else float(self._signal.difference(mark, self._mark))
        fires = self._clock.fires(self._since_full, difference)
        computed = [number for number, fired in enumerate(fires) if fired or is_full]
        found |= self._held_of(number for number in range(len(self._stages)) if number not in computed)
        ran += self._parts.run(found)
        self._hold(found)
        for number in computed:
            self._from[number] = seen.number
        if len(computed) == len(self._stages):
            self._since_full = 0
            if self._signal is not None:
                self._mark = mark
        return found[LOGITS], Cost(ran, tuple(self._from), difference=difference)


class FixedClockwork(Clockwork):
    takes: tuple[str, ...] = ("rates", "cuts")

    @classmethod
    def open(cls, network: SegmentationNetwork, settings: SchemeSettings) -> Self:
        alternating = (*[1] * len(clock_stages(network, settings.cuts)[1:]), 2)
        return cls(network, Fixed(settings.rates or alternating), settings.cuts)


class AdaptiveClockwork(Clockwork):
    takes: tuple[str, ...] = ("threshold", "signal", "longest_wait", "cuts")

    @classmethod
    def open(cls, network: SegmentationNetwork, settings: SchemeSettings) -> Self:
        clock = Adaptive(len(clock_stages(network, settings.cuts)), settings.threshold, settings.longest_wait)
        return cls(network, clock, settings.cuts, settings.signal)
