"""The walk away from the annotated frame: step after step, composed to the way straight back."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.ahead import ahead
from propagate.carry.refinement import refine
from sdcnet.geometry import compose
from sdcnet.motion.estimator import MotionEstimator, Observation, Step


@dataclass(frozen=True)
class Displacement:
    """How the frame at `offset` (the target) moved since the annotated frame.

    All flows are [1,2,H,W] float32, in pixels: `step` leads from the target to the frame before it on the
    walk, `flow` from the target to the annotated frame, `reverse` from the annotated frame to the target.
    """

    offset: int
    step: Tensor
    flow: Tensor
    reverse: Tensor


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
    reverse_estimator: MotionEstimator,
    history: str = "adjacent",
) -> Iterator[Displacement]:
    """The displacements at offsets ±1, ±2, …, each composed with the last: D_k = d_k + D_{k-1}∘(id + d_k).

    observations: by offset, without holes from 0 in `direction` (+1 or -1).
    estimator: gives the steps, which look back as `steps_away` says; where it is refinable, each D_k is refined on the
        images before the next is composed with it.
    reverse_estimator: gives the steps back, from each frame to the next one out; it looks back on one frame. They are
        made beside the steps where these come from a network.

    Lazy: one displacement exists at a time.
    """
    if reverse_estimator.num_history != 1:
        raise ValueError(f"reverse steps look back on one frame, not on {reverse_estimator.num_history}")
    steps = steps_away(observations, direction, estimator.num_history, history)
    backwards = [Step((step.target,), step.source) for step in steps]
    annotated = observations[0].pixels
    flow = reverse = torch.zeros(1, 2, *annotated.shape[-2:])
    step_flows = estimator.estimate(observations, steps)
    reverse_steps = reverse_estimator.estimate(observations, backwards)
    if estimator.is_network:
        reverse_steps = ahead(reverse_steps, depth=2)
    for step in steps:
        reverse = compose(reverse, next(reverse_steps))
        step_flow = next(step_flows)
        flow = compose(step_flow, flow)
        if estimator.refinable:
            flow = refine(flow, observations[step.target].pixels, annotated)
        yield Displacement(step.target, step_flow, flow, reverse)
        del step_flow  # before the next is estimated: at full size each flow is 16 MiB
