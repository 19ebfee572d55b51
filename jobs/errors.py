"""What can go wrong in what all packages stand on; what a worker raises arrives as it was raised.

JobError                Ray is missing, cannot be started or joined, or its workers cannot be
├── UnfitNodeError      a worker cannot be made on this node, and perhaps on others
├── FitError            a training that cannot begin or go on
├── RunFolderError      the folder of a training holds something else, is in use, damaged, or cannot be written
├── ComputeError        networks cannot compute here: no such device, or nothing that can be compiled
│   ├── TooLargeError   one sample at a time is more than the memory holds
│   └── NotFiniteError  a network gives infinities, or no numbers
└── CheckpointError     a file of weights that cannot be read or written, or is not what was asked for
    └── ParameterError  one whose parameters are not those of the network

FileError               a file that cannot be used, by path and reason: CheckpointError, and errors of other packages
UnknownNameError        a name that a registry does not have; a ValueError

A message says what was found, what was expected, and what to do.
"""

from collections.abc import Mapping, Sequence

NUM_NAMED = 4  # parameters of a kind that a message names; the error's attributes have them all


class JobError(Exception):
    """Base of every error that this package raises on purpose."""


class UnknownNameError(ValueError):
    """A registry has nothing of that name; the message says what it has, and which name was perhaps meant."""


class FileError(Exception):
    """A file cannot be used; the message begins with its path."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.path, self.reason)


class UnfitNodeError(JobError):
    """A worker cannot be made on this node; the message says what the node lacks."""


class FitError(JobError):
    """A training cannot begin with these settings and samples, or go on."""


class RunFolderError(JobError):
    """A training cannot be begun, resumed, or kept in this folder; the message begins with a path."""


class ComputeError(JobError):
    """A network cannot compute on this machine as it was asked to."""


class TooLargeError(ComputeError):
    """The memory does not hold what a network makes of a single sample."""


class NotFiniteError(ComputeError):
    """What a network makes of a sample holds infinities, or no numbers."""


class CheckpointError(JobError, FileError):
    """A file of weights cannot be used."""


class ParameterError(CheckpointError):
    """A file's parameters are not those of the network that it was to fill.

    `mismatched` holds, for each name that both have, what was found and what was expected: its shape, and its dtype
    where that is no floating one.
    """

    def __init__(
        self,
        path: str,
        network: str,
        missing: Sequence[str],
        unexpected: Sequence[str],
        mismatched: Mapping[str, tuple[str, str]],
        advice: str,
    ) -> None:
        shapes = [f"{name}: found {found}, expected {expected}" for name, (found, expected) in mismatched.items()]
        kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
        faults = "; ".join(_named(kind, names) for kind, names in kinds.items() if names)
        super().__init__(path, f"its parameters are not those of {network}: {faults}. {advice}")
        self.network, self.advice = network, advice
        self.missing, self.unexpected, self.mismatched = missing, unexpected, mismatched

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (
            self.path,
            self.network,
            self.missing,
            self.unexpected,
            self.mismatched,
            self.advice,
        )


def _named(kind: str, names: Sequence[str]) -> str:
    """The first few of the names, and how many there are: "3 missing (a, b, c)"."""
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return f"{len(names)} {kind} ({', '.join(names[:NUM_NAMED])}{more})"
