"""Which sequence and frame number a frame has: its path says."""

import re
from pathlib import PurePosixPath

from propagate.datasets.folder import safe_name

_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<frame>[0-9]+)", re.DOTALL)
_USUAL_FOLDERS = frozenset({"images", "JPEGImages"})  # which say nothing of the sequence
_NO_NAME = "frames"


def place_of(path: str) -> tuple[str, str] | None:
    """The sequence and the digits of the frame's number; None where the name without its ending ends in no digit.

    drive/frame_000120.png is frame 000120 of sequence drive_frame: folders, and what stands before the number.
    """
    pure = PurePosixPath(path)
    match = _NUMBERED.fullmatch(pure.stem)
    if match is None:
        return None
    folders = [part for part in pure.parts[:-1] if part not in _USUAL_FOLDERS]
    prefix = match["prefix"].rstrip("_-. ")
    return safe_name("_".join([*folders, prefix] if prefix else folders) or _NO_NAME), match["frame"]
