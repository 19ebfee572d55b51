"""What can go wrong in the engine itself; what a worker raises arrives as it was raised.

    JobError        Ray is missing, cannot be started or joined, or its workers cannot be

A message says what was found, what was expected, and what to do.
"""


class JobError(Exception):
    """Base of every error that this package raises on purpose."""
