"""The folder of a training: its settings and its state, which one process at a time may write.

config.json      settings and versions, as the training was begun
checkpoint.pt    all that a resumption needs; read without running any code in it

Records are written by `jobs.training.run_log`; the networks that come out, by who trains them.
"""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from filelock import FileLock, Timeout

from jobs.errors import RunFolderError
from jobs.files import partial_names, write_whole

CONFIG = "config.json"
CHECKPOINT = "checkpoint.pt"
LOCK = ".lock"
VERSION = 1  # of the checkpoint
RELEASE_SECONDS = 15  # by then, the processes that read samples for a killed training have let go of the lock

_log = logging.getLogger(__name__)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder, made where it is not there.

    Raises RunFolderError where another training holds it, or it can't be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.warning("%s: in use; waiting up to %d s, in case its training was just stopped", out, RELEASE_SECONDS)
            lock.acquire(timeout=RELEASE_SECONDS)
    except Timeout:
        raise RunFolderError(
            f"{out}: another training writes to it; wait for its end, or choose another --out"
        ) from None
    except OSError as error:
        raise RunFolderError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def is_begun(out: Path) -> bool:
    """Whether a training in the folder has saved a state to go on from."""
    return (out / CHECKPOINT).exists()


def begin(
    out: Path, settings: Mapping[str, Any], versions: Mapping[str, str], *, defaults: Mapping[str, Any] | None = None
) -> None:
    """Enter the settings of a training, or see that those of the one that was begun here are the same.

    One that has saved nothing yet gives way: what stopped it may be a setting that is now another. What a killed
    process left half-written is removed.
    defaults: what settings were in a training that was begun before the program had them.
    Raises RunFolderError where they differ, or the folder holds something else.
    """
    settings, defaults = json.loads(json.dumps(settings)), json.loads(json.dumps(defaults or {}))
    defaults = {name: value for name, value in defaults.items() if name in settings}
    text = json.dumps({"settings": settings, "versions": versions}, indent=2) + "\n"
    try:
        begun = {**defaults, **json.loads((out / CONFIG).read_text(encoding="utf-8"))["settings"]}
    except FileNotFoundError:
        strangers = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if strangers:
            reason = f"holds '{strangers[0]}' but no {CONFIG}, so no training was begun here; choose an empty folder"
            raise RunFolderError(f"{out}: {reason}") from None
        replace(out / CONFIG, text.encode())
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{out / CONFIG}: cannot be read ({error!r}); choose another --out") from None
    differences = [
        f"{name}: {begun.get(name)} then, {settings.get(name)} now"
        for name in sorted(begun.keys() | settings.keys())
        if begun.get(name) != settings.get(name)
    ]
    if differences and not is_begun(out):
        replace(out / CONFIG, text.encode())
    elif differences:
        raise RunFolderError(
            f"{out}: a training with other settings was begun here ({'; '.join(differences)}); give the former ones to "
            "go on with it, or choose another --out"
        )
    for name in (CHECKPOINT, "*.safetensors"):  # as large as networks
        for leftover in out.glob(partial_names(name)):
            leftover.unlink(missing_ok=True)


def save_checkpoint(out: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training, whole or not at all. Raises RunFolderError where it cannot be written."""
    buffer = io.BytesIO()  # torch would end the interpreter where a disk is full
    torch.save({"version": VERSION, **state}, buffer)
    replace(out / CHECKPOINT, buffer.getbuffer())


def load_checkpoint(out: Path) -> dict[str, Any] | None:
    """The state of the training here; None where nothing was saved yet. Raises RunFolderError for a damaged one."""
    path = out / CHECKPOINT
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state.pop("version")
    except Exception as error:  # a reader of pickles raises anything, depending on the bytes
        first_line = str(error).partition("\n")[0]
        reason = f"damaged ({type(error).__name__}: {first_line}); remove it to train from the beginning"
        raise RunFolderError(f"{path}: {reason}") from error
    if found != VERSION:
        raise RunFolderError(f"{path}: of version {found}, this program reads {VERSION}; choose another --out")
    return state


def replace(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, also when the power fails. Raises RunFolderError, the former file untouched."""
    try:
        write_whole(path, data)
    except OSError as error:
        reason = f"cannot be written ({error.strerror}); what was saved before is kept. Make room, then run it again"
        raise RunFolderError(f"{path}: {reason}") from error


def versions(*modules: ModuleType) -> dict[str, str]:
    """Of libraries, by module: their distributions have several names."""
    return {module.__name__: module.__version__ for module in modules}
