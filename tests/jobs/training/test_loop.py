"""The loop's arithmetic, with a task of one weight: parts of a step, their means, and what is random in each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jobs.crew.member import Member
from jobs.errors import RunFolderError
from jobs.training.loop import _restore, _run_steps
from jobs.training.optimisers import OPTIMISERS, Descent
from jobs.training.runtime import Runtime
from jobs.training.state import TrainState
from jobs.training.task import Losses

CPU = Runtime(device=torch.device("cpu"))


class Toy:
    """Its batches are numbers, which are the loss for a weight of 1; it remembers what was random in each part."""

    num_steps, num_parts, seed = 2, 2, 5

    def __init__(self) -> None:
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.network.weight)
        self.state = TrainState(self.network, CPU, OPTIMISERS["sgd"], Descent(momentum=0.0))
        self.drawn: list[float] = []

    def batches(self, steps: range) -> Iterator[float]:
        for step in steps:
            yield from (10.0 * step + 1, 10.0 * step + 3)

    def forward(self, network: nn.Module, batch: float) -> Tensor:
        self.drawn.append(torch.rand(()).item())
        return network(torch.tensor([[batch]])).sum()

    def losses(self, output: Tensor) -> Losses:
        return Losses(output, {"loss": output, "twice": 2 * output})

    def learning_rate(self, step: int) -> float:
        return 0.1 * (step + 1)

    def not_finite(self, step: int, rate: float, loss: float) -> Exception:
        return ArithmeticError(f"{step} {rate} {loss}")


class Record:
    """In place of a recorder."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, dict[str, float]]] = []

    def after_step(self, rate: float, terms: dict[str, Tensor], _: Any) -> None:
        self.lines.append((rate, {name: term.item() for name, term in terms.items()}))


def run(toy: Toy, rank: int = 0) -> Record:
    record = Record()
    _run_steps(toy, Member(rank, 1, CPU.device, 0), CPU, record)  # type: ignore[arg-type]
    return record


def test_a_step_goes_down_the_mean_of_its_parts_and_tells_their_mean() -> None:
    toy = Toy()
    (rate, first), (later, second) = run(toy).lines
    assert (rate, later) == (0.1, 0.2)
    assert first == pytest.approx({"loss": 2, "twice": 4})
    weight = 1 - 0.1 * 2  # the gradient is the batch
    assert second == pytest.approx({"loss": 12 * weight, "twice": 24 * weight})
    assert toy.network.weight.item() == pytest.approx(weight - 0.2 * 12)


def test_a_step_that_is_not_finite_tells_the_mean_of_its_parts() -> None:
    toy = Toy()
    toy.network.weight.grad = torch.full((1, 1), torch.inf)
    with pytest.raises(ArithmeticError, match=r"^0 0\.1 2\.0$"):
        run(toy)


def test_what_is_random_differs_from_part_to_part_step_to_step_and_member_to_member() -> None:
    first, again, other = Toy(), Toy(), Toy()
    run(first), run(again), run(other, rank=1)
    assert first.drawn == again.drawn
    assert len({*first.drawn, *other.drawn}) == 8


def test_what_is_random_in_a_step_does_not_depend_on_a_restart() -> None:
    whole, resumed = Toy(), Toy()
    run(whole)
    resumed.state.step = 1
    run(resumed)
    assert resumed.drawn == whole.drawn[2:]


def test_a_checkpoint_of_another_training_is_one_sentence(tmp_path: Path) -> None:
    toy = Toy()
    for saved in ({}, {**toy.state.saved(), "network": {"bias": torch.ones(1)}}, {**toy.state.saved(), "optimiser": 5}):
        with pytest.raises(RunFolderError, match=r"checkpoint\.pt: of another training \([^\n]+\); remove it to train"):
            _restore(toy, saved, tmp_path)
