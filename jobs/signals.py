"""SIGINT, SIGTERM and SIGHUP: each unwinds the stack, so that workers are stopped and what is half done is removed."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, NoReturn

DEFAULTS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
_UNTOUCHED = (signal.SIG_IGN, None)  # handlers: what is ignored stays so


@contextmanager
def restored(signum: int) -> Iterator[None]:
    """The signal's handler is what it was, afterwards."""
    before = signal.getsignal(signum)
    try:
        yield
    finally:
        _handle(signum, before)


class Interruption:
    """A handler of signals, and the first that has arrived.

    An exception that a handler raises inside a callback of Ray's, or while an object is destroyed, is lost there: so
    the signal is remembered too.

    always_interrupt: whether each raises KeyboardInterrupt, or SIGINT alone does, the others SystemExit(128 + number).
    """

    def __init__(self, always_interrupt: bool) -> None:
        self._always_interrupt = always_interrupt
        self._process = os.getpid()
        self.signum: int | None = None

    def check(self) -> None:
        """Raise what was lost."""
        if self.signum is not None:
            self._unwind(self.signum)

    def __call__(self, signum: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork, such as a reader of samples, which ends as if there were no handler
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        is_first, self.signum = self.signum is None, self.signum or signum
        if is_first or signum == signal.SIGINT:  # others come in twos, and the stack is unwinding already
            self._unwind(signum)

    def _unwind(self, signum: int) -> NoReturn:
        if self._always_interrupt or signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signum)


@contextmanager
def interruption(*, always_interrupt: bool = False) -> Iterator[Interruption]:
    """Where SIGINT, SIGTERM or SIGHUP has its default meaning, have it unwind the stack, as `Interruption` says.

    Within such a context, another one is the same.
    """
    outer = signal.getsignal(signal.SIGTERM)
    if isinstance(outer, Interruption):
        yield outer
        return
    handler = Interruption(always_interrupt)
    with ExitStack() as handlers:
        handlers.enter_context(_silent_where_lost(handler))
        for signum, default in DEFAULTS.items():
            handlers.enter_context(restored(signum))
            if signal.getsignal(signum) is default:
                _handle(signum, handler)
        yield handler


@contextmanager
def uninterrupted() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP wait until the context is left; for calls that an exception must not pass through."""
    if threading.current_thread() is not threading.main_thread():  # no handler runs here
        yield
        return
    arrived: list[int] = []

    def deliver() -> None:
        for signum in arrived:
            signal.raise_signal(signum)

    with ExitStack() as restoring:
        restoring.callback(deliver)
        for signum in DEFAULTS:
            if (handler := signal.getsignal(signum)) not in _UNTOUCHED:
                restoring.callback(signal.signal, signum, handler)
                signal.signal(signum, lambda signum, _: arrived.append(signum))
        yield


@contextmanager
def ending(stop: Callable[[], object]) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP calls `stop`, for work that then ends by itself; it is delivered when the
    context is left. A SIGINT after it is delivered at once; others come in twos, as from `timeout`."""
    if threading.current_thread() is not threading.main_thread():  # no handler runs here
        yield
        return
    handlers = {signum: handler for signum in DEFAULTS if (handler := signal.getsignal(signum)) not in _UNTOUCHED}
    arrived: list[int] = []

    def restore() -> None:
        for known, handler in handlers.items():
            signal.signal(known, handler)

    def end(signum: int, _: FrameType | None) -> None:
        arrived.append(signum)
        if len(arrived) == 1:
            stop()
        elif signum == signal.SIGINT:
            restore()
            signal.raise_signal(signum)

    for known in handlers:
        signal.signal(known, end)
    try:
        yield
    finally:
        restore()
    for signum in arrived[:1]:
        signal.raise_signal(signum)


@contextmanager
def _silent_where_lost(handler: Interruption) -> Iterator[None]:
    """Python prints the exceptions that are lost; not these, which are remembered."""
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if handler.signum is None or not issubclass(unraisable.exc_type, KeyboardInterrupt | SystemExit):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """An `interruption` around Ray's calls. Call what this yields every now and then; it raises what was lost."""
    with interruption() as handler:
        try:
            yield handler.check
        except SystemExit:
            handler.check()  # Ray's calls turn its code into 1
            raise


@contextmanager
def checked(callback: Callable[[Any], None]) -> Iterator[Callable[[Any], None]]:
    """An `interruption` around work of this process, which calls what this yields: it raises what was lost."""
    with interruptible() as check:

        def call(value: Any) -> None:
            check()
            callback(value)

        yield call


def _handle(signum: int, handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():  # Ray leaves signals alone elsewhere; so must we
        signal.signal(signum, handler)
