import numpy as np
import pytest
import torch

from propagate.carry.resampling import RESAMPLERS, Composed, Recursive
from propagate.carry.sample_settings import RESAMPLINGS, SampleSettings
from propagate.carry.walk import Displacement
from sdcnet.geometry import compose


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    frame = torch.from_numpy(random.integers(0, 256, (1, 3, 12, 16), np.uint8))
    return frame, torch.from_numpy(random.integers(0, 9, (1, 1, 12, 16), np.uint8))


def moved(offset: int, step: torch.Tensor, before: Displacement | None) -> Displacement:
    flow = step if before is None else compose(step, before.flow)
    return Displacement(offset, step, flow)


def shift(dx: float, dy: float) -> torch.Tensor:
    return torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 12, 16).contiguous()


def test_whole_pixels_are_carried_alike_by_both(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    frame, label = scene
    one = moved(1, shift(2, 0), None)
    two = moved(2, shift(1, 1), one)
    for resampler in (Composed(frame, label), Recursive(frame, label)):
        resampler.labels([one]), resampler.frames([one])
        assert (resampler.labels([two])[..., :10, :12] == label[..., 1:11, 3:15]).all()
        assert (resampler.frames([two])[..., :10, :12] == frame[..., 1:11, 3:15]).all()


def test_composed_resamples_once_and_recursive_at_every_step(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    frame, label = scene
    halves = [moved(1, shift(0.4, 0), None)]
    halves.append(moved(2, shift(0.4, 0), halves[0]))
    composed, recursive = Composed(frame, label), Recursive(frame, label)
    for displacement in halves:
        straight, stepped = composed.labels([displacement]), recursive.labels([displacement])
    assert (straight[..., :15] == label[..., 1:]).all()  # 0.8 rounds to the next pixel
    assert (stepped == label).all()  # 0.4 rounds to none, twice


@pytest.mark.parametrize("kind", [Composed, Recursive])
def test_several_offsets_together_are_those_one_by_one(
    kind: type[Composed | Recursive], scene: tuple[torch.Tensor, torch.Tensor]
) -> None:
    steps = torch.randn(3, 1, 2, 12, 16, generator=torch.Generator().manual_seed(0)) * 2
    displacements: list[Displacement] = []
    for offset, step in enumerate(steps, start=1):
        displacements.append(moved(offset, step, displacements[-1] if displacements else None))
    together, one_by_one = kind(*scene), kind(*scene)
    for several in (displacements[:2], displacements[2:]):
        labels = torch.cat([one_by_one.labels([displacement]) for displacement in several])
        assert torch.equal(together.labels(several), labels)
        frames = torch.cat([one_by_one.frames([displacement]) for displacement in several])
        assert torch.equal(together.frames(several), frames)


@pytest.mark.parametrize("direction", [1, -1])
def test_recursive_truncates_its_first_frame_and_takes_later_ones_from_the_nearest_pixel(direction: int) -> None:
    frame = torch.tensor([[0, 1, 2, 3]], dtype=torch.uint8).expand(1, 3, 1, 4)
    label = torch.zeros(1, 1, 1, 4, dtype=torch.uint8)
    step = torch.tensor([0.75, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    first, second = (Displacement(direction * k, step, step) for k in (1, 2))
    assert Composed(frame, label).frames([first])[0, 0, 0].tolist() == [1, 2, 3, 3]
    recursive = Recursive(frame, label)
    assert recursive.frames([first])[0, 0, 0].tolist() == [0, 1, 2, 3]
    assert recursive.frames([second])[0, 0, 0].tolist() == [1, 2, 3, 3]


def test_sample_settings_know_the_resamplers_and_refuse_others() -> None:
    assert tuple(RESAMPLERS) == RESAMPLINGS
    with pytest.raises(ValueError, match="resample must be one of composed, recursive, found 'twice'"):
        SampleSettings(resample="twice")
    with pytest.raises(ValueError, match=r"min_confidence must be within 0…1, found 1\.5"):
        SampleSettings(min_confidence=1.5)


def test_labels_are_fused_unless_that_is_not_wanted_or_of_the_published_script() -> None:
    assert SampleSettings().fuses
    assert SampleSettings(images="raw", source=False, min_confidence=0.5).fuses
    for settings in (
        SampleSettings(one_sided=True),
        SampleSettings(pairing="joint"),
        SampleSettings(resample="recursive"),
        SampleSettings(history="annotated"),
    ):
        assert not settings.fuses
