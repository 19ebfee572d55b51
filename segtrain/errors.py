"""What can go wrong while segmentation networks are trained and used.

SegtrainError
├── DataError           samples that cannot be trained on
├── RunError            a folder that holds no run of `segtrain fit`, or one that cannot be read
└── InferenceError      an image that cannot be segmented, or a segmentation that cannot be written

What any training or file of weights can raise is in `jobs.errors`: FitError, RunFolderError, CheckpointError, others.
A message says what was found, what was expected, and what to do.
"""


class SegtrainError(Exception):
    """Base of every error that this package raises on purpose."""


class DataError(SegtrainError):
    """There are no samples, or they cannot be trained on."""


class RunError(SegtrainError):
    """The folder of a training is none, or one of its files is damaged; the message begins with its path."""


class InferenceError(SegtrainError):
    """A network cannot segment an image, or what came out cannot be written."""
