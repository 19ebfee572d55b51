"""Iterators that work ahead: order, errors, how far ahead, and an early end."""

import threading
import time
from collections.abc import Iterator

import pytest
from helpers.drivers import wait_for

from jobs.ahead import ahead


def test_items_come_in_order_from_another_thread() -> None:
    def items() -> Iterator[tuple[int, bool]]:
        for number in range(5):
            yield number, threading.current_thread() is threading.main_thread()

    assert list(ahead(items(), depth=2)) == [(number, False) for number in range(5)]


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_than_the_depth_says(depth: int) -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    iterator = ahead(items(), depth)
    assert next(iterator) == 0
    wait_for(lambda: len(made) >= 1 + depth, "what is made ahead")
    time.sleep(0.05)
    assert len(made) == 1 + depth


def test_an_error_comes_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the second cannot be read")

    iterator = ahead(items(), depth=2)
    assert next(iterator) == 1
    with pytest.raises(OSError, match="the second cannot be read"):
        next(iterator)


def test_closing_early_ends_the_thread() -> None:
    before = threading.active_count()
    iterator = ahead(iter(range(10)), depth=2)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
