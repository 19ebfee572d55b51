"""The walk away from the annotated frame: step after step, composed to the way straight back."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from propagate.carry.paths import CarryingPath
from propagate.carry.refinement import RefinedWay, resized, small
from sdcnet.geometry import compose
from sdcnet.motion.estimator import (
    CodedObservation,
    MotionEstimator,
    Observation,
    ObservedInVideo,
    ObservedPixels,
    Step,
)


@dataclass(frozen=True)
class Displacement:
    """How the frame at `offset` (the target) moved since the annotated frame.

    Flows are [1,2,H,W] float32, in pixels: `step` leads from the target to the frame before it on the walk, `flow` from
    the target to the annotated frame.
    """

    offset: int
    step: Tensor
    flow: Tensor


def steps_away(offsets: Collection[int], direction: int, num_history: int, history: str = "adjacent") -> list[Step]:
    """The steps of a walk from frame 0 in `direction` (+1 or -1), up to the first of the `offsets` that is not there.

    A step looks back on `num_history` frames, for the first steps beyond frame 0; the farthest frame that is
    there stands in for those that are not. With the history 'annotated', frame 0 stays the oldest of them however far
    the walk has come: a quirk of the published script.
    """
    if direction not in (1, -1):
        raise ValueError(f"direction must be +1 or -1, found {direction}")
    if 0 not in offsets:
        raise ValueError(f"a walk begins at offset 0, found frames at {sorted(offsets)} only")
    steps = []
    distance = 1
    while distance * direction in offsets:
        seen = [(distance - 1) * direction]
        while len(seen) < num_history:
            older = seen[0] - direction
            seen.insert(0, older if older in offsets else seen[0])
        if history == "annotated" and 1 < num_history <= distance:
            seen[0] = 0
        steps.append(Step(tuple(seen), distance * direction))
        distance += 1
    return steps


def walk(
    observations: Mapping[int, Observation],
    direction: int,
    estimator: MotionEstimator,
    path: CarryingPath,
    history: str = "adjacent",
) -> Iterator[Displacement]:
    """The displacements at offsets ±1, ±2, …, each composed with the last: D_k = d_k + D_{k-1}∘(id + d_k).

    observations: by offset, without holes from 0 in `direction` (+1 or -1).
    estimator: gives the steps, which look back as `steps_away` says, between large frames from their halves, if that
        will do; where it is refinable, each D_k is refined on the images before the next is composed with it.

    Lazy: one displacement exists at a time.
    """
    steps = steps_away(observations, direction, estimator.num_history, history)
    frames = {offset: observation.pixels for offset, observation in observations.items()}
    size = frames[0].shape[-2:]
    way: Way = RefinedWay(frames[0], path) if estimator.refinable else ComposedWay(frames[0])
    if not estimator.full_size:
        observations = {offset: _with(small(frames[offset]), seen) for offset, seen in observations.items()}
    step_flows = estimator.estimate(observations, steps)
    for step in steps:
        step_flow = next(step_flows)
        yield Displacement(step.target, resized(step_flow, size), way.extended(step_flow, frames[step.target]))
        del step_flow  # before the next is estimated: at full size each flow is 16 MiB


def _with(pixels: Tensor, observation: Observation) -> Observation:
    """What is known of a frame, with other pixels."""
    if isinstance(observation, CodedObservation):
        return ObservedInVideo(pixels, observation.to_previous)
    return ObservedPixels(pixels)


class Way(Protocol):
    """The way from a frame back to the annotated one, which grows by a step at a time."""

    def extended(self, step: Tensor, target: Tensor) -> Tensor:
        """flow_target_to_annotated [1,2,H,W], after a step from the target to the frame where the way ended before.

        step: [1,2,h,w] float32, in its own pixels; target: [1,3,H,W] uint8 RGB.
        """
        ...


class ComposedWay:
    """The sum of the steps, each where the way has come to by then."""

    def __init__(self, annotated: Tensor) -> None:
        self._flow = torch.zeros_like(annotated[:, :2], dtype=torch.float32)

    def extended(self, step: Tensor, target: Tensor) -> Tensor:  # noqa: ARG002
        self._flow = compose(step, self._flow)
        return self._flow
