"""What the loop of every training needs of the training that it runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from jobs.crew.member import Member
from jobs.errors import FitError
from jobs.training.run_log import RunLog
from jobs.training.runtime import Runtime
from jobs.training.state import TrainState

Batch = TypeVar("Batch")
Output = TypeVar("Output")


class Losses(NamedTuple):
    """What a part of a step costs: `total`, the scalar to go down, and `terms`, scalars by their names in the log.

    Not every step has the same terms: the log has the mean of those that do.
    """

    total: Tensor
    terms: Mapping[str, Tensor]


def by_name(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, list[Tensor]]:
    """The terms of several steps, or parts of one, by their names."""
    found: dict[str, list[Tensor]] = {}
    for terms in parts:
        for name, value in terms.items():
            found.setdefault(name, []).append(value)
    return found


class Due(NamedTuple):
    """What is to be done once a step is: write the losses since the last line of the log; look at what the network can
    do by now; save."""

    log: bool
    look: bool
    save: bool


class Task(Protocol[Batch, Output]):
    """A training as one member of a crew does it, in a state of its own; all members call the same, in the same order.

    state: with the network in the mode in which it learns. network: what a step calls; its parameters are the state's.
    seed: of what is random within the network, such as dropout. num_steps: of the whole training. num_parts: in which
    each step is computed, one after the other.
    speed: what the log calls the pace, and how much a step counts.
    """

    @property
    def state(self) -> TrainState[Any]: ...

    @property
    def network(self) -> nn.Module: ...

    @property
    def seed(self) -> int: ...

    @property
    def num_steps(self) -> int: ...

    @property
    def num_parts(self) -> int: ...

    @property
    def speed(self) -> tuple[str, float]: ...

    def recall(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned when this checkpoint was saved; the state is restored already."""
        ...

    def memory(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the state: plain values."""
        ...

    def introduction(self) -> str | None:
        """What a person should know before hours have passed."""
        ...

    def beginning(self) -> dict[str, Any]:
        """The values of the first line of the log, and of each that a resumption adds."""
        ...

    def batches(self, steps: range) -> Iterator[Batch]:
        """This member's share of these steps: a batch for each part of each step, in order."""
        ...

    def forward(self, network: Callable[..., Any], batch: Batch) -> Output:
        """What the network, which may be wrapped, makes of a batch; called where layers compute in the dtype."""
        ...

    def losses(self, output: Output) -> Losses: ...

    def learning_rate(self, step: int) -> float: ...

    def due(self, step: int) -> Due:
        """What is to be done once so many steps are."""
        ...

    def look(self, output: Output, log: RunLog | None) -> str | None:
        """See what the network can do by now, and return a line for people. Only the first member has a log.

        output: of the last part of the step.
        """
        ...

    def save_networks(self) -> None:
        """Write the networks that are of use by themselves; the checkpoint follows."""
        ...

    def not_finite(self, step: int, rate: float, loss: float) -> FitError:
        """The error for a step whose loss or gradient is not finite, which names the samples that it saw."""
        ...


class Job(Protocol):
    """What every member of a crew is told: picklable. dtype: that of activations, by name."""

    @property
    def out(self) -> Path: ...

    @property
    def dtype(self) -> str: ...

    @property
    def compile(self) -> bool: ...

    def open(self, member: Member, runtime: Runtime) -> Task[Any, Any]:
        """The training of that member. Raises what is wrong with the settings, the weights or the samples."""
        ...
