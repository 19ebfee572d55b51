"""SIGINT and SIGTERM while others' code runs: either unwinds the stack, so that workers are shut down first."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, NoReturn


@contextmanager
def restored(signum: int) -> Iterator[None]:
    """The signal's handler is what it was, afterwards."""
    before = signal.getsignal(signum)
    try:
        yield
    finally:
        _handle(signum, before)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Where SIGINT or SIGTERM has its default meaning, raise KeyboardInterrupt or SystemExit(143).

    An exception that a handler raises inside a callback of Ray's is lost there: so the signal is remembered too. Call
    what this yields every now and then; it raises what was lost.
    """
    arrived: list[int] = []

    def check() -> None:
        if arrived:
            _unwind(arrived[0])

    def handle(signum: int, _frame: FrameType | None) -> NoReturn:
        arrived.append(signum)
        _unwind(signum)

    with ExitStack() as handlers:
        for signum, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            handlers.enter_context(restored(signum))
            if signal.getsignal(signum) is default:
                _handle(signum, handle)
        try:
            yield check
        except SystemExit:
            check()  # Ray's calls turn its code into 1
            raise


def _unwind(signum: int) -> NoReturn:
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + signum)


def _handle(signum: int, handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():  # Ray leaves signals alone elsewhere; so must we
        signal.signal(signum, handler)
