"""What can go wrong while motion is estimated.

SdcnetError
├── MotionError             an estimator that does not exist, or cannot work on these frames
│   ├── TooLargeError       one sample at a time is more than the memory holds
│   └── NotFiniteError      a network gives infinities, or no numbers
├── FitError                a training that cannot begin or go on
└── FileError               a file that cannot be used; path and reason
    ├── CheckpointError     a file of weights that cannot be read or written, or is not what was asked for
    │   └── ParameterError  one whose parameters are not those of the network
    ├── FrameError          frames, or a video or folder of them, that cannot be read
    └── FlowFileError       a file of flow that cannot be read or written, or is not what was asked for

A message says what was found, what was expected, and what to do.
"""

from collections.abc import Mapping, Sequence

NUM_NAMED = 4  # parameters of a kind that a message names; the error's attributes have them all


class SdcnetError(Exception):
    """Base of every error that this package raises on purpose."""


class MotionError(SdcnetError):
    """A motion estimator is unknown, or cannot work on the frames that it was given."""


class TooLargeError(MotionError):
    """The memory does not hold what a network makes of a single sample."""


class NotFiniteError(MotionError):
    """What a network makes of a sample holds infinities, or no numbers."""


class FileError(SdcnetError):
    """A file cannot be used; the message begins with its path."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.path, self.reason)


class FitError(SdcnetError):
    """A training cannot begin with these settings and frames, or go on."""


class FrameError(FileError):
    """Frames, or a video or folder of them, cannot be read."""


class CheckpointError(FileError):
    """A file of weights cannot be used."""


class FlowFileError(FileError):
    """A file of flow cannot be used."""


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
