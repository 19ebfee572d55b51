"""A process beside a Ray of our own: when the driver is gone, however it went, so are Ray's processes and files.

After a kill -9 of the driver Ray's servers and workers follow within seconds, but its agents stay for a minute more,
and its files for ever. Runs as `python reaper.py DIRECTORY`, with the standard library alone; its standard input is
a pipe that only the driver holds.
"""

import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PASSES, PAUSE_SECONDS = 50, 0.1


def main(directory: str) -> None:
    driver = os.getppid()
    sys.stdin.buffer.read()  # returns when the driver closes the pipe, or dies
    for _ in range(PASSES):
        remaining = set(processes_in(directory)) - {driver}  # which may go on without Ray
        for pid in remaining:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not remaining:
            break
        time.sleep(PAUSE_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)


def processes_in(directory: str) -> Iterator[int]:
    """The processes that write a file under the directory, as each of Ray's does: a log, if no more."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if any(_is_written(link, directory) for link in (process / "fd").iterdir()):
                yield int(process.name)


def _is_written(descriptor: Path, directory: str) -> bool:
    return bool(descriptor.lstat().st_mode & stat.S_IWUSR) and descriptor.readlink().is_relative_to(directory)


if __name__ == "__main__":
    main(sys.argv[1])
