"""What can go wrong while motion is estimated.

SdcnetError
├── MotionError        an estimator that does not exist, or cannot work on these frames
├── FrameError         frames, or a video or folder of them, that cannot be read
└── FlowFileError      a file of flow that cannot be read or written, or is not what was asked for

The last two are kinds of `jobs.errors.FileError`. What networks, trainings and files of weights raise is in
`jobs.errors` too. A message says what was found, what was expected, and what to do.
"""

from jobs.errors import FileError


class SdcnetError(Exception):
    """Base of every error that this package raises on purpose."""


class MotionError(SdcnetError):
    """A motion estimator is unknown, or cannot work on the frames that it was given."""


class FrameError(SdcnetError, FileError):
    """Frames, or a video or folder of them, cannot be read."""


class FlowFileError(SdcnetError, FileError):
    """A file of flow cannot be used."""
