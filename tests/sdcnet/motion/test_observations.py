"""Estimators that need nothing but pixels take them from any observation."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from golden.fill import fill
from torch import Tensor

from jobs.training.runtime import Runtime
from sdcnet.motion.classical import Dis, NoMotion, TvL1
from sdcnet.motion.estimator import MotionEstimator, ObservedPixels, Step
from sdcnet.motion.learned import FlowNet2Motion, PredictedMotion
from sdcnet.motion.pair_flow import DisPairs
from sdcnet.networks.predictor import SDCNet2DRecon

SIZE = (32, 48)
CPU = Runtime(device=torch.device("cpu"))
STEPS = [Step((0, 0), 1), Step((0, 1), 2)]


@dataclass(frozen=True)
class Decoded:
    """A frame as a video's codec might give it: pixels when they are asked for, and more."""

    seed: int
    vectors: Tensor

    @property
    def pixels(self) -> Tensor:
        return make_pixels(self.seed)


def make_pixels(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=generator)


def predictor() -> MotionEstimator:
    network = SDCNet2DRecon(width=0.05)
    fill(network.requires_grad_(False))
    return PredictedMotion(network.eval(), DisPairs(), CPU, {})


ESTIMATORS: Mapping[str, MotionEstimator] = {
    "dis": Dis(),
    "tvl1": TvL1(),
    "none": NoMotion(),
    "flownet2": FlowNet2Motion(DisPairs(), CPU, {}),
    "sdcnet": predictor(),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_richer_observation_is_as_good_as_its_pixels(name: str) -> None:
    plain = {offset: ObservedPixels(make_pixels(offset)) for offset in range(3)}
    richer = {offset: Decoded(offset, vectors=torch.zeros(1, 2, 2, 3)) for offset in range(3)}
    expected = list(ESTIMATORS[name].estimate(plain, STEPS))
    found = list(ESTIMATORS[name].estimate(richer, STEPS))
    assert [flow.shape for flow in found] == [(1, 2, *SIZE)] * 2
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)
