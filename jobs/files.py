"""Files and folders that are there whole or not at all.

What is written lies beside its place, under a name of its own, until all of it is there: so several processes may
write the same file, and whoever reads it finds one of them, whole.
"""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

_WITHOUT_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # what file systems without hard links say


@contextmanager
def whole_file(path: Path, *, synced: bool = True) -> Iterator[BinaryIO]:
    """A file to write piece by piece, which takes its place when the context is left without an error.

    synced: the file is whole, and in its place, after a power cut too; that takes 5 ms, much for each of many small
    files.
    Raises: OSError, the former file untouched, unless all that failed is to sync the folder.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    if synced:
        sync_directory(path.parent)


def write_whole(path: Path, data: bytes | memoryview, *, synced: bool = True) -> None:
    """Write a file whole or not at all, as `whole_file` says. Raises: OSError."""
    with whole_file(path, synced=synced) as file:
        file.write(data)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, whole or not at all: of several processes at the same time one does.

    Raises: FileExistsError where it is there by now; OSError.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    write_whole(partial, data)
    try:
        os.link(partial, path)  # takes a place that is free, and no other
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        with path.open("xb") as file:  # as exclusive; a power cut may leave a part of it
            file.write(data)
    finally:
        partial.unlink()
    sync_directory(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place when the context is left without an error; there, none or an empty one.

    Its files are as whole after a power cut as they were written. Raises: OSError, what is there untouched.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def partial_names(name: str) -> str:
    """A pattern of what killed processes leave of a file of this name, which may hold wildcards itself."""
    return f".{name}*.partial"  # earlier versions put nothing in between


def remove_leftovers(folder: Path, patterns: Iterable[str]) -> None:
    """Remove the files of these names; folders are nobody's leftovers. Raises: OSError."""
    for pattern in patterns:
        for leftover in folder.glob(pattern):
            if not leftover.is_dir() or leftover.is_symlink():
                leftover.unlink(missing_ok=True)


def open_regular(path: Path) -> BufferedReader:
    """A file, opened for reading. Raises: OSError; also for a pipe or a device, which might be waited for forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "no regular file, but a pipe, a socket or a device", str(path))
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def sync_directory(directory: Path) -> None:
    """Make renames in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
