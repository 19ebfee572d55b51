"""Annotations for tests: frames, label maps as drawn with letters, and what a data set holds that was imported."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from propagate.data.images import encode_png

SIZE = (6, 8)


def write_frames(folder: Path, names: Sequence[str], size: tuple[int, int] = SIZE) -> Path:
    """Frames of these names, each of pixels of its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        if path.suffix == ".png":
            path.write_bytes(encode_png(pixels))
        else:
            Image.fromarray(pixels).save(path, "JPEG")
    return folder


def grid(rows: str, **ids: int) -> np.ndarray:
    """A label map from rows of letters, each of which stands for an id."""
    lines = rows.split()
    return np.array([[ids[letter] for letter in line] for line in lines], np.uint8)


def labels_of(dest: Path) -> dict[str, np.ndarray]:
    """The label maps of a data set that was imported, by sequence/frame."""
    found = sorted((dest / "labels").rglob("*.png"))
    return {path.relative_to(dest / "labels").with_suffix("").as_posix(): np.array(Image.open(path)) for path in found}


def frames_of(dest: Path) -> list[str]:
    return sorted(path.relative_to(dest / "frames").as_posix() for path in (dest / "frames").rglob("*.*"))


def leftovers(folder: Path) -> list[str]:
    """What a half written data set would have left there."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]
