import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from jobs.crew.launch import launch
from jobs.crew.member import Member
from jobs.pool.run import run_units
from jobs.signals import ending, interruptible, interruption, uninterrupted


class Swallows:
    """An object whose callback runs while a signal arrives; what is raised in there is lost."""

    def __init__(self, signum: int) -> None:
        self._signum = signum

    def __del__(self) -> None:
        os.kill(os.getpid(), self._signum)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("signum", "default", "error", "code"),
    [
        (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt, ()),
        (signal.SIGTERM, signal.SIG_DFL, SystemExit, (143,)),
        (signal.SIGHUP, signal.SIG_DFL, SystemExit, (129,)),
    ],
)
def test_a_signal_that_was_lost_in_a_callback_is_remembered(
    signum: int, default: Any, error: type[BaseException], code: tuple[int, ...]
) -> None:
    def lose_a_signal() -> None:
        with interruptible() as check:
            check()
            victim = Swallows(signum)
            del victim
            check()

    before = signal.signal(signum, default)
    try:
        with pytest.raises(error) as caught:
            lose_a_signal()
        assert signal.getsignal(signum) is default
    finally:
        signal.signal(signum, before)
    assert caught.value.args == code


def test_a_callers_own_handler_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, _frame: heard.append(signum))
    try:
        with interruptible() as check:
            os.kill(os.getpid(), signal.SIGTERM)
            check()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_the_first_signal_counts_and_only_ctrl_c_is_heard_again() -> None:
    with interruption(always_interrupt=True) as arrived:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)  # as systems send them, one after the other
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with interruptible() as check, pytest.raises(KeyboardInterrupt):
            check()
    assert arrived.signum == signal.SIGHUP


def test_a_signal_waits_until_what_must_not_be_interrupted_is_done() -> None:
    done: list[str] = []
    with interruption(always_interrupt=True):
        with pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012 - how far it gets is what is tested
            with uninterrupted():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        assert done == ["inner", "outer"]
        with uninterrupted():  # while the stack unwinds
            os.kill(os.getpid(), signal.SIGHUP)


def test_whose_handlers_they_are_does_not_matter_to_what_must_not_be_interrupted() -> None:
    """As where a caller handles SIGTERM himself, and ignores SIGHUP."""
    heard: list[str] = []
    own = [
        (signal.SIGTERM, signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))),
        (signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_IGN)),
    ]
    try:
        with interruption(), pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012 - as above
            for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), signum)
            heard.append("done")
        assert heard == ["done", "SIGTERM"]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for signum, handler in own:
            signal.signal(signum, handler)


def test_a_fork_ends_as_if_nobody_listened() -> None:
    with interruption():
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


class Falls:
    """Has this process told to stop while it is destroyed, where Python loses exceptions."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def lose_a_signal() -> None:
    falls = Falls()
    del falls


def test_a_signal_that_was_lost_stops_units_and_trainings_here_without_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    heard: list[int] = []

    def work(_unit: int, _attempt: str, on_progress: Callable[[int], None]) -> None:
        on_progress(1)
        lose_a_signal()
        on_progress(2)

    def train(member: Member) -> None:
        member.tell(1)
        lose_a_signal()
        member.tell(2)

    with pytest.raises(KeyboardInterrupt), interruption(always_interrupt=True):
        list(run_units([1], lambda _share: work, engine="local", on_progress=heard.append))
    with pytest.raises(KeyboardInterrupt), interruption(always_interrupt=True):
        launch(train, on_message=heard.append)
    assert heard == [1, 1]
    assert capfd.readouterr() == ("", "")


def test_the_first_signal_lets_work_end_by_itself_and_is_delivered_then() -> None:
    done: list[str] = []
    with interruption(always_interrupt=True) as arrived:
        with pytest.raises(KeyboardInterrupt), ending(lambda: done.append("stopped")):  # noqa: PT012 - as above
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` sends it, to the process and to its group
            done.append("ended")
        assert arrived.signum == signal.SIGTERM
        with ending(lambda: done.append("never")):
            done.append("alone")
    assert done == ["stopped", "ended", "alone"]


def test_a_second_ctrl_c_does_not_wait() -> None:
    done: list[str] = []
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), ending(lambda: done.append("stopped")):  # noqa: PT012 - as above
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        done.append("never")
    assert done == ["stopped"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_what_fails_while_it_ends_is_what_is_raised() -> None:
    with interruption(), pytest.raises(ZeroDivisionError), ending(lambda: None):  # noqa: PT012 - as above
        os.kill(os.getpid(), signal.SIGINT)
        raise ZeroDivisionError
