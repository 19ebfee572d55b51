"""`propagate` in forks of a process that has imported what takes long: for tests that start it often, to disturb it."""

import multiprocessing
import os
import resource
from collections.abc import Sequence
from pathlib import Path

from helpers.drivers import PATIENCE

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["propagate.cli.main", "propagate.job.run", "propagate.job.worker"])


class Fork:
    """A command that runs, under the names of `subprocess.Popen`. What it prints is in the folder, in two files.

    largest_file: that it may write, in bytes.
    """

    def __init__(self, args: Sequence[str], folder: Path, *, largest_file: int | None = None) -> None:
        self._files = [folder / "stdout", folder / "stderr"]
        self._process = _CONTEXT.Process(target=_run, args=(args, self._files, largest_file), daemon=True)
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, signum: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signum)

    def wait(self, timeout: float = PATIENCE) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"not ended within {timeout} s"
        return self._process.exitcode

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        self.wait(timeout)
        stdout, stderr = (path.read_text() for path in self._files)
        return stdout, stderr


def _run(args: Sequence[str], files: Sequence[Path], largest_file: int | None) -> None:
    from propagate.cli.main import main

    for descriptor, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    main(args)
