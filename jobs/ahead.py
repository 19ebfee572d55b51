"""Iterators that work ahead: what comes next is made while the last is used."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The items, each made in a thread of their own, up to `depth` of them before they are asked for.

    What making one raises is raised here, in its turn. Closed early, it waits for the item that is being made.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, iterator, _END) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(thread.submit(next, iterator, _END))
                yield item  # type: ignore[misc]
        finally:
            for future in coming:
                future.cancel()
