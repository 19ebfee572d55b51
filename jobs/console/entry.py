"""The way into a command line, before anything heavy is imported."""

import os
import signal
from importlib import import_module
from types import FrameType


def enter(program: str) -> None:
    """Run the command line of that package. Ctrl-C while that is imported ends the process, as it does later.

    An exception would come out of the middle of an import, as a traceback of whatever that belongs to.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    main = import_module(f"{program}.cli.main").main
    signal.signal(signal.SIGINT, before)
    main(prog_name=program)


def _end(signum: int, _frame: FrameType | None) -> None:
    os.write(2, b"Interrupted.\n")
    os._exit(128 + signum)  # nothing is begun that would have to be put away
