"""What can go wrong while segmentation networks are trained and used.

SegtrainError
├── DataError           samples that cannot be trained on
├── FitError            a training that cannot begin or go on
├── RunError            a folder that holds no run of `segtrain fit`, or one that cannot be read
├── InferenceError      an image that cannot be segmented, or a segmentation that cannot be written
└── CheckpointError     a file of weights that does not fit the network, or what was asked for

A file that holds no weights, or those of another network, is an error of `sdcnet.errors`, whose reader all files of
weights share: CheckpointError, of which the one here is a kind, and ParameterError. A message says what was found,
what was expected, and what to do.
"""

from sdcnet import errors as sdcnet_errors


class SegtrainError(Exception):
    """Base of every error that this package raises on purpose."""


class DataError(SegtrainError):
    """There are no samples, or they cannot be trained on."""


class FitError(SegtrainError):
    """A training cannot begin with these settings and samples, or go on."""


class RunError(SegtrainError):
    """The folder of a training is none, or one of its files is damaged; the message begins with its path."""


class InferenceError(SegtrainError):
    """A network cannot segment an image, or what came out cannot be written."""


class CheckpointError(SegtrainError, sdcnet_errors.CheckpointError):
    """A file of weights cannot be used for this network; the message begins with its path."""
