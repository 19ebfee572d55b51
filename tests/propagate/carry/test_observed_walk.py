"""A walk hands on what is known of its frames as it is, to the estimators that it was given."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from propagate.carry.paths import HostPath
from propagate.carry.walk import steps_away, walk
from sdcnet.motion.classical import NoMotion
from sdcnet.motion.estimator import Observation, Step

SIZE = (24, 40)


@dataclass(frozen=True)
class Moved:
    """A frame that came with its motion, in pixels to the right since the frame before it."""

    pixels: Tensor
    motion: float


class ToldMotion(NoMotion):
    """Believes what observations tell, and wants no others."""

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for step in steps:
            seen = observations[step.target]
            assert isinstance(seen, Moved)
            yield torch.tensor([-seen.motion, 0.0]).view(1, 2, 1, 1).expand(1, 2, *seen.pixels.shape[-2:])


def blank() -> Tensor:
    return torch.zeros(1, 3, *SIZE, dtype=torch.uint8)


def test_an_estimator_is_given_what_a_source_knows_beside_pixels() -> None:
    observations = {offset: Moved(blank(), motion=2.0 * offset) for offset in range(3)}
    near, far = walk(observations, 1, ToldMotion(), HostPath())
    assert near.flow[0, 0].unique().tolist() == [-2]
    assert far.step[0, 0].unique().tolist() == [-4]
    assert far.flow[0, 0].unique().tolist() == [-6]


def test_steps_follow_from_offsets_alone() -> None:
    assert steps_away([-1, 0, 1, 3], 1, num_history=2) == [Step((-1, 0), 1)]
    assert steps_away({0, 1, 2}, 1, num_history=1) == [Step((0,), 1), Step((1,), 2)]
