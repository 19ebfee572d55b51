"""The stages of a network as the steps of a pipeline: each works on what the one before it made of the frame before.

Here they are computed one after the other, the last first, so that each sees what was held before. On machines that
compute them at the same time a frame takes as long as the slowest step and what comes after; the scores are these.

Reference: Shelhamer et al., Clockwork Convnets for Video Semantic Segmentation, 2016.
"""

from collections.abc import Sequence
from typing import Self

from torch import Tensor

from segtrain.models.network import IMAGE, SegmentationNetwork
from segtrain.video.clocks import Pipelined
from segtrain.video.clockwork import Clocked, clock_stages
from segtrain.video.parts import LOGITS
from segtrain.video.registry import SchemeSettings
from segtrain.video.stepper import Cost, Seen


class PipelinedClockwork(Clocked):
    """The first frame is computed in full; from the frame on that has the number of steps before it, it is filled."""

    takes: tuple[str, ...] = ("pipeline", "cuts")

    def __init__(self, network: SegmentationNetwork, clock: Pipelined, cuts: Sequence[str] = ()) -> None:
        super().__init__(network, clock.num_stages, cuts)
        self._clock = clock

    @classmethod
    def open(cls, network: SegmentationNetwork, settings: SchemeSettings) -> Self:
        num_stages = len(clock_stages(network, settings.cuts))
        return cls(network, Pipelined(num_stages, settings.pipeline), settings.cuts)

    @property
    def phases(self) -> tuple[int, ...]:
        return (self._clock.num_steps - 1,)

    def step(self, seen: Seen) -> tuple[Tensor, Cost]:
        fresh = {IMAGE: seen.image}
        ran: tuple[str, ...] = ()
        if self._is_full(seen):
            self._from = [seen.number] * len(self._stages)
        else:
            for stages in reversed(self._clock.steps):
                ran += self._run_step(stages, seen, fresh)
        ran += self._parts.run(fresh)
        self._hold(fresh)
        return fresh[LOGITS], Cost(ran, tuple(self._from))

    def _run_step(self, stages: range, seen: Seen, fresh: dict[str, Tensor]) -> tuple[str, ...]:
        """Add to `fresh` what the stages of a step give, of what is held of those before; return what was computed."""
        ran: tuple[str, ...] = ()
        found = {IMAGE: seen.image, **self._held_of(range(stages.start))}
        for name in (name for number in stages for name in self._stages[number] if name in self._shared):
            ran += self._parts.run(found, name)
            fresh[name] = found[name]
        source = self._from[stages.start - 1] if stages.start else seen.number
        for number in stages:
            self._from[number] = source
        return ran
