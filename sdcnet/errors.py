"""What can go wrong while motion is estimated.

SdcnetError
└── MotionError     an estimator that does not exist, or cannot work on these frames
"""


class SdcnetError(Exception):
    """Base of every error that this package raises on purpose."""


class MotionError(SdcnetError):
    """A motion estimator is unknown, or cannot work on the frames that it was given."""
