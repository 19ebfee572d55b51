"""What can go wrong in the engine itself; what a worker raises arrives as it was raised.

JobError                Ray is missing, cannot be started or joined, or its workers cannot be
└── RunFolderError      the folder of a training holds something else, is in use, damaged, or cannot be written

A message says what was found, what was expected, and what to do.
"""


class JobError(Exception):
    """Base of every error that this package raises on purpose."""


class RunFolderError(JobError):
    """A training cannot be begun, gone on with, or kept in this folder; the message begins with a path."""
