"""The folder of a training: its settings and its state, which one process at a time may write.

config.json      settings and versions, as the training was begun
checkpoint.pt    all that a resumption needs: a zip of torch.save, proven by the CRC-32 of each member, and read without
                 running any code in it

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

from jobs.differences import told_differences
from jobs.errors import RunFolderError
from jobs.files import open_regular, partial_names, remove_leftovers, write_whole
from jobs.training.checksums import prove_members, say_unproven

CONFIG = "config.json"
CHECKPOINT = "checkpoint.pt"
LOCK = ".lock"
VERSION = 1  # of the checkpoint
RELEASE_SECONDS = 15  # by then, the processes that read samples for a killed training have let go of the lock

_log = logging.getLogger(__name__)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder, made where it is not there.

    Raises: RunFolderError where another training holds it, or it can't be made.
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
    out: Path,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    *,
    defaults: Mapping[str, Any] | None = None,
    growing: str | None = None,
    may_grow: bool = False,
) -> None:
    """Enter the settings of a training, or see that those of the one that was begun here are the same.

    One that has saved nothing yet gives way: what stopped it may be a setting that is now another. What a killed
    process left half-written is removed.
    defaults: what settings were in a training that was begun before the program had them. growing: the setting,
    a number, that may be larger than it was when the training was begun if it may grow, as --extend says.
    Raises: RunFolderError where they differ, or the folder holds something else.
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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(f"{out / CONFIG}: cannot be read ({error!r}); choose another --out") from None
    differences = told_differences(begun, settings, "then")
    has_grown = growing is not None and len(differences) == 1 and settings[growing] > begun[growing]
    if (has_grown and may_grow) or (differences and not is_begun(out)):
        replace(out / CONFIG, text.encode())
    elif differences:
        raise RunFolderError(
            f"{out}: a training with other settings was begun here ({'; '.join(differences)}); give the former ones to "
            f"go on with it,{' or --extend to train longer,' * has_grown} or choose another --out"
        )
    remove_leftovers(out, map(partial_names, (CHECKPOINT, "*.safetensors")))  # as large as networks


def save_checkpoint(out: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training, whole or not at all. Raises: RunFolderError where it cannot be written."""
    buffer = io.BytesIO()  # torch would end the interpreter where a disk is full
    torch.save({"version": VERSION, **state}, buffer)
    replace(out / CHECKPOINT, buffer.getbuffer())


def load_checkpoint(out: Path) -> dict[str, Any] | None:
    """The state of the training here, proven by its members' CRC-32; None where nothing was saved yet.

    Raises: RunFolderError, where it is damaged, or cannot be read.
    """
    path = out / CHECKPOINT
    try:
        with open_regular(path) as file:
            is_proven = prove_members(file)
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
        found = state.pop("version")
    except FileNotFoundError:
        return None
    except Exception as error:  # a reader of pickles raises anything, depending on the bytes
        first_line = str(error).partition("\n")[0]
        raise unusable(out, f"damaged ({type(error).__name__}: {first_line})") from error
    if found != VERSION:
        raise RunFolderError(f"{path}: of version {found}, this program reads {VERSION}; choose another --out")
    if not is_proven:
        say_unproven(path)
    return state


def require_made(out: Path, name: str) -> None:
    """Raises: RunFolderError where a file that a finished training has written is gone."""
    if not (out / name).exists():
        raise RunFolderError(
            f"{out}: this training is finished, but {name} is gone; put it back, or choose another --out"
        )


def unusable(out: Path, reason: str) -> RunFolderError:
    """The error that says why a training cannot go on from its checkpoint, and what helps."""
    advice = "remove it to train from the beginning, or put a copy of it in its place"
    return RunFolderError(f"{out / CHECKPOINT}: {reason}; {advice}")


def replace(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, after a power cut too. Raises: RunFolderError, the former file untouched."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path | str, error: OSError) -> RunFolderError:
    """What is said of a file of a run folder that cannot be written."""
    reason = f"cannot be written ({error.strerror}); what was saved before is kept. Make room, then run it again"
    return RunFolderError(f"{path}: {reason}")


def versions(*modules: ModuleType) -> dict[str, str]:
    """Of libraries, by module: their distributions have several names."""
    return {module.__name__: module.__version__ for module in modules}
