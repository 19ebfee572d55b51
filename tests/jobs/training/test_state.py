"""A step, worked out by hand: how far it goes, what it is cut to, what the average keeps, and what is saved."""

import pytest
import torch
from torch import Tensor, nn

from jobs.training.optimisers import OPTIMISERS, Descent
from jobs.training.runtime import Runtime
from jobs.training.state import TrainState


def state_of(
    *, dtype: torch.dtype = torch.float32, decay: float = 0.0, largest_gradient: float = 0.0
) -> TrainState[nn.Linear]:
    """Of two weights that are 0, which go down their gradient without momentum."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(network.weight)
    return TrainState(
        network,
        Runtime(device=torch.device("cpu"), dtype=dtype),
        OPTIMISERS["sgd"],
        Descent(momentum=0.0),
        decay=decay,
        largest_gradient=largest_gradient,
    )


def step(state: TrainState[nn.Linear], *gradient: float, rate: float = 1.0) -> Tensor:
    """The weights after a step down this gradient."""
    loss = (state.network.weight * torch.tensor(gradient)).sum()
    state.backward(loss)
    assert state.update(rate, loss.detach())
    return state.network.weight.detach()[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("largest", "expected"), [(0.0, (-3.0, -4.0)), (10.0, (-3.0, -4.0)), (2.5, (-1.5, -2.0))])
def test_a_gradient_is_cut_to_its_largest_norm_and_a_smaller_one_left_alone(
    dtype: torch.dtype, largest: float, expected: tuple[float, float]
) -> None:
    """Over all weights, and as it is, not as it is scaled in float16."""
    torch.testing.assert_close(step(state_of(dtype=dtype, largest_gradient=largest), 3.0, 4.0), torch.tensor(expected))


def test_a_step_has_the_rate_that_it_is_given_and_its_own_gradient_alone() -> None:
    state = state_of()
    torch.testing.assert_close(step(state, 1.0, 0.0, rate=0.5), torch.tensor([-0.5, 0.0]))
    torch.testing.assert_close(step(state, 0.0, 2.0, rate=0.25), torch.tensor([-0.5, -0.5]))
    assert state.step == 2


def test_the_average_covers_a_tenth_of_the_steps_until_its_decay_is_reached() -> None:
    state, average = state_of(decay=0.25), 0.0
    for kept in (2 / 11, 0.25, 0.25, 0.25):  # after n steps (1 + n) / (10 + n), a quarter at most
        weight = step(state, 1.0, 0.0)[0].item()
        average = kept * average + (1 - kept) * weight
        assert state.average.weight[0, 0].item() == pytest.approx(average)


def test_what_was_saved_is_all_of_it() -> None:
    state = state_of(decay=0.9)
    step(state, 1.0, 2.0)
    other = state_of(decay=0.9)
    other.restore(state.saved())
    assert other.step == 1
    assert torch.equal(other.network.weight, state.network.weight)
    assert torch.equal(other.average.weight, state.average.weight)
    assert not torch.equal(other.average.weight, other.network.weight)


def test_gradients_that_stay_infinite_in_float16_do_not_pass_as_steps() -> None:
    """Some are left out while the scale falls; where it is as low as no gradient needs, nothing is learned any more."""
    state = state_of(dtype=torch.float16)
    for _ in range(31):  # from 2^16 to below 2^-14
        state.backward((state.network.weight * torch.tensor([float("inf"), 0.0])).sum())
        assert state.update(1.0, torch.tensor(1.0))
    state.backward((state.network.weight * torch.tensor([float("inf"), 0.0])).sum())
    assert not state.update(1.0, torch.tensor(1.0))
    assert torch.equal(state.network.weight, torch.zeros(1, 2))
