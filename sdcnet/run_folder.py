"""The folder of a training: its settings, its state, the network that it gives, and its records.

config.json             settings, versions, as the training was begun
checkpoint.pt           all that a resumption needs; read without running any code in it
predictor.safetensors   the averaged weights, as of the last checkpoint, ready to use
log.jsonl               one JSON object a line: losses, scores, beginnings; events.out.tfevents.*: TensorBoard's
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import PIL
import torch
from filelock import FileLock, Timeout

from sdcnet.errors import FitError

CONFIG = "config.json"
CHECKPOINT = "checkpoint.pt"
PREDICTOR = "predictor.safetensors"
LOG = "log.jsonl"
LOCK = ".lock"
VERSION = 1  # of the checkpoint
RELEASE_SECONDS = (
    15  # by then, the processes that read samples for a killed training have noticed, and let go of the lock
)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder, made where it is not there. Raises FitError where another training does, or it can't be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK)
        lock.acquire(timeout=RELEASE_SECONDS)
    except Timeout:
        raise FitError(f"{out}: another training writes to it; wait for its end, or choose another --out") from None
    except OSError as error:
        raise FitError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def begin(out: Path, recipe: Mapping[str, Any]) -> None:
    """Enter the settings of a training, or see that those of the one that was begun here are the same.

    Raises FitError where they differ, or the folder holds something else.
    """
    recipe = json.loads(json.dumps(recipe))
    try:
        begun = json.loads((out / CONFIG).read_text(encoding="utf-8"))["settings"]
    except FileNotFoundError:
        strangers = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if strangers:
            reason = f"holds '{strangers[0]}' but no {CONFIG}, so no training was begun here; choose an empty folder"
            raise FitError(f"{out}: {reason}") from None
        text = json.dumps({"settings": recipe, "versions": versions()}, indent=2) + "\n"
        replace(out / CONFIG, text.encode())
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FitError(f"{out / CONFIG}: cannot be read ({error!r}); choose another --out") from None
    differences = [
        f"{name}: {begun.get(name)} then, {recipe.get(name)} now"
        for name in sorted(begun.keys() | recipe.keys())
        if begun.get(name) != recipe.get(name)
    ]
    if differences:
        raise FitError(
            f"{out}: a training with other settings was begun here ({'; '.join(differences)}); give the former ones to "
            "go on with it, or choose another --out"
        )


def save_checkpoint(out: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training, whole or not at all. Raises FitError where it cannot be written."""
    buffer = io.BytesIO()  # torch would end the interpreter where a disk is full
    torch.save({"version": VERSION, **state}, buffer)
    replace(out / CHECKPOINT, buffer.getbuffer())


def load_checkpoint(out: Path) -> dict[str, Any] | None:
    """The state of the training here; None where nothing was saved yet. Raises FitError for a damaged one."""
    path = out / CHECKPOINT
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state.pop("version")
    except Exception as error:  # a reader of pickles raises anything, depending on the bytes
        first_line = str(error).partition("\n")[0]
        reason = f"damaged ({type(error).__name__}: {first_line}); remove it to train from the beginning"
        raise FitError(f"{path}: {reason}") from error
    if found != VERSION:
        raise FitError(f"{path}: of version {found}, this program reads {VERSION}; choose another --out")
    return state


def replace(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, also when the power fails. Raises FitError, the former file untouched."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = f"cannot be written ({error.strerror}); what was saved before is kept. Make room, then run it again"
        raise FitError(f"{path}: {reason}") from error


def versions() -> dict[str, str]:
    """Of the libraries, by module: their distributions have several names."""
    return {module.__name__: module.__version__ for module in (torch, np, cv2, av, PIL)}
