"""What makes the samples of opened clips: the one part in which runs differ whose labels come about in other ways."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from jobs.timing import Stopwatch
from propagate.carry.opened import OpenClip
from propagate.data.classes import ClassTable
from propagate.data.sample import Sample
from propagate.shards.manifest import Failure

if TYPE_CHECKING:
    from jobs.training.transfers import Transfers


Value = TypeVar("Value")


@dataclass(frozen=True)
class Notes:
    """What is noted as the samples of a shard are made: where the time goes, what failed, and whatever is counted.

    unreachable: what this machine could not reach, and another one perhaps can.
    """

    watch: Stopwatch = field(default_factory=Stopwatch)
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unreachable: list[str] = field(default_factory=list)


class Maker(Protocol):
    """Opened clips to samples, by what it holds open for that.

    fingerprint: of files that it reads, or of other things that machines could have differently: what the settings of
    the store say of them. transfers: what leads to the device where it computes, if other work should go on beside it.
    """

    @property
    def fingerprint(self) -> Mapping[str, object]: ...

    @property
    def transfers(self) -> "Transfers | None": ...

    def __call__(self, opened: OpenClip, notes: Notes) -> Iterator[Sample]:
        """The samples of a clip; what it lacks, and what fails, is noted before the first sample that follows."""
        ...


class Making(Protocol):
    """How samples are made: small, and picklable; every worker opens it for itself.

    is_network: whether a network makes them, which takes more of a machine than a core. device: where that computes.
    reads_vectors: whether frames of videos are wanted with the codec's motion. images: how shards hold frames, one of
    IMAGE_FORMS.
    """

    @property
    def is_network(self) -> bool: ...

    @property
    def device(self) -> str: ...

    @property
    def reads_vectors(self) -> bool: ...

    @property
    def images(self) -> str: ...

    def open(self, classes: ClassTable) -> Maker:
        """classes: of the store. Raises: CheckpointError, and others, where what it needs cannot be used."""
        ...


def with_absolute_paths(value: Value) -> Value:
    """A path as an absolute one, and a dataclass with such paths, however deep: workers may have another folder."""
    if isinstance(value, Path):
        return value.absolute()
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{each.name: with_absolute_paths(getattr(value, each.name)) for each in fields(value)})
