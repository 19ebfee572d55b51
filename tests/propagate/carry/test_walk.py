"""The walk away from the annotated frame: its steps, their composition, and that it looks no further than asked."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from propagate.carry.paths import HostPath
from propagate.carry.walk import steps_away, walk
from sdcnet.geometry import compose
from sdcnet.motion.classical import Dis, NoMotion
from sdcnet.motion.estimator import Observation, ObservedPixels, Step

SIZE = (24, 40)
HOST = HostPath()


def blank_frames(*offsets: int) -> dict[int, ObservedPixels]:
    return {offset: ObservedPixels(torch.zeros(1, 3, *SIZE, dtype=torch.uint8)) for offset in offsets}


class Scripted:
    """An estimator that returns the flows it was given, and remembers for how many it was asked."""

    num_history = 1
    full_size = True
    transfers = None
    fingerprint: Mapping[str, object] = {}

    def __init__(self, flows: Sequence[Tensor], *, refinable: bool = False) -> None:
        self.flows, self.refinable, self.asked = flows, refinable, 0

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:  # noqa: ARG002
        for flow, _ in zip(self.flows, steps, strict=True):
            self.asked += 1
            yield flow


def random_flows(count: int) -> list[Tensor]:
    return [torch.randn(1, 2, *SIZE, generator=torch.Generator().manual_seed(seed)) for seed in range(count)]


@pytest.mark.parametrize("direction", [1, -1])
def test_steps_lead_from_each_frame_to_the_one_before(direction: int) -> None:
    steps = steps_away(blank_frames(0, 1, 2, -1, -2), direction, num_history=1)
    assert steps == [Step((0,), direction), Step((direction,), 2 * direction)]


def test_steps_look_back_as_far_as_asked_and_as_there_is() -> None:
    steps = steps_away(blank_frames(-1, 0, 1, 2), 1, num_history=3)
    assert [step.history for step in steps] == [(-1, -1, 0), (-1, 0, 1)]


def test_a_hole_ends_the_walk() -> None:
    assert [step.target for step in steps_away(blank_frames(0, 1, 2, 4), 1, num_history=1)] == [1, 2]
    assert steps_away(blank_frames(0, 1), -1, num_history=1) == []


@pytest.mark.parametrize("direction", [0, 2, -3])
def test_a_walk_has_one_of_two_directions(direction: int) -> None:
    with pytest.raises(ValueError, match=rf"direction must be \+1 or -1, found {direction}"):
        steps_away(blank_frames(0), direction, num_history=1)


def test_a_walk_needs_its_annotated_frame() -> None:
    with pytest.raises(ValueError, match=r"a walk begins at offset 0, found frames at \[1, 2\] only"):
        steps_away(blank_frames(2, 1), 1, num_history=1)


@pytest.mark.parametrize("direction", [1, -1])
def test_displacements_are_composed_from_the_steps(direction: int) -> None:
    flows = random_flows(3)
    found = list(walk(blank_frames(*(direction * k for k in range(4))), direction, Scripted(flows), HOST))
    assert [displacement.offset for displacement in found] == [direction, 2 * direction, 3 * direction]
    assert all(torch.equal(displacement.step, flow) for displacement, flow in zip(found, flows, strict=True))
    assert torch.equal(found[0].flow, flows[0])
    assert torch.equal(found[1].flow, compose(flows[1], flows[0]))
    assert torch.equal(found[2].flow, compose(flows[2], compose(flows[1], flows[0])))


def test_a_walk_estimates_no_further_than_it_is_followed() -> None:
    estimator = Scripted(random_flows(5))
    displacements = walk(blank_frames(*range(6)), 1, estimator, HOST)
    next(displacements)
    assert estimator.asked == 1
    next(displacements)
    assert estimator.asked == 2


def test_a_refinable_estimator_is_corrected_on_the_images_and_the_next_step_builds_on_it() -> None:
    still = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, *SIZE), np.uint8))
    frames = dict.fromkeys(range(4), ObservedPixels(still))
    wrong = [torch.full((1, 2, *SIZE), 0.8)] * 3
    kept = list(walk(frames, 1, Scripted(wrong), HOST))
    corrected = list(walk(frames, 1, Scripted(wrong, refinable=True), HOST))
    assert kept[2].flow.abs().mean() > 1.5
    assert all(displacement.flow[..., 4:-4, 4:-4].abs().mean() < 0.2 for displacement in corrected)
    assert torch.equal(corrected[2].step, wrong[2])


def test_without_motion_labels_stay_where_they_are() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 1, 3, *SIZE), np.uint8)
    [displacement] = walk({k: ObservedPixels(torch.from_numpy(noise[k])) for k in (0, 1)}, 1, NoMotion(), HOST)
    assert torch.equal(displacement.flow, torch.zeros(1, 2, *SIZE))


@pytest.mark.parametrize("direction", [1, -1])
def test_a_pan_is_followed(direction: int) -> None:
    coarse = torch.rand(1, 3, 20, 36, generator=torch.Generator().manual_seed(3))
    scene = (torch.nn.functional.interpolate(coarse, scale_factor=5, mode="bicubic") * 255).clamp(0, 255).byte()
    windows = (scene[..., 10:80, 20 + 3 * k : 130 + 3 * k].contiguous() for k in range(4))
    frames = {k * direction: ObservedPixels(window) for k, window in enumerate(windows)}
    far = list(walk(frames, direction, Dis(), HOST))[-1]
    inner = (..., slice(16, -16), slice(16, -16))
    assert (far.flow[inner] - torch.tensor([9.0, 0.0]).view(1, 2, 1, 1)).abs().mean() < 0.1


class Seeing(Scripted):
    """Remembers the sizes of the frames that it was shown."""

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        self.sizes = {tuple(observation.pixels.shape[-2:]) for observation in observations.values()}
        return super().estimate(observations, steps)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> dict[int, ObservedPixels]:
    """Frames of a still street twice as large as what is not halved."""
    monkeypatch.setattr("propagate.carry.refinement.LARGEST_SMALL", SIZE[0] * SIZE[1])
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (1, 3, SIZE[0] * 2, SIZE[1] * 2), np.uint8)
    return dict.fromkeys(range(4), ObservedPixels(torch.from_numpy(noise)))


def test_steps_between_large_frames_are_estimated_on_their_halves(large: dict[int, ObservedPixels]) -> None:
    estimator = Seeing([torch.full((1, 2, *SIZE), 0.4)] * 3, refinable=True)
    estimator.full_size = False
    found = list(walk(large, 1, estimator, HOST))
    assert estimator.sizes == {SIZE}
    for displacement in found:
        assert displacement.flow.shape == displacement.step.shape == (1, 2, SIZE[0] * 2, SIZE[1] * 2)
        torch.testing.assert_close(displacement.step, torch.full_like(displacement.step, 0.8))  # in the frames' pixels
        assert displacement.flow[..., 8:-8, 8:-8].abs().mean() < 0.2


def test_an_estimator_of_full_size_sees_large_frames_as_they_are(large: dict[int, ObservedPixels]) -> None:
    step = torch.full((1, 2, SIZE[0] * 2, SIZE[1] * 2), 0.8)
    estimator = Seeing([step] * 3, refinable=True)
    found = list(walk(large, 1, estimator, HOST))
    assert estimator.sizes == {(SIZE[0] * 2, SIZE[1] * 2)}
    assert all(torch.equal(displacement.step, step) for displacement in found)
    assert all(displacement.flow[..., 8:-8, 8:-8].abs().mean() < 0.2 for displacement in found)
