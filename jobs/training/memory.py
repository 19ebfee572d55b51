"""Memory that runs out where networks compute, and what is said of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from jobs.errors import TooLargeError


def is_out_of_memory(error: Exception) -> bool:
    # a CPU's allocator has no type of its own for it
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def out_of_memory(device: torch.device, doing: str, *advice: str) -> str:
    """The sentence that says so. doing: such as "with one sample of 6x8 at a time"; advice: what else would help."""
    choices = ("fewer --workers", *advice, f"a {'GPU' if device.type == 'cuda' else 'machine'} with more memory")
    return f"out of memory on {device} {doing}; choose {', or '.join(choices)}"


@contextmanager
def enough_memory(device: torch.device, doing: str, *advice: str) -> Iterator[None]:
    """Raises: TooLargeError, with the sentence of `out_of_memory`, where memory runs out within."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TooLargeError(out_of_memory(device, doing, *advice)) from None
