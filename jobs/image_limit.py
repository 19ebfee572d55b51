"""How large an image may be that is read: one limit for all of them, since a small file may unpack to all memory."""

import os
from typing import TYPE_CHECKING, Any

from jobs.errors import FileError

if TYPE_CHECKING:
    from PIL import Image

VARIABLE = "LABEL_PROPAGATION_MAX_PIXELS"
DEFAULT_MAX_PIXELS = 1 << 28  # 16384x16384, 0.8 GB as RGB


def max_pixels() -> int:
    """The most pixels, height times width, of an image that is read. Raises: ValueError for a variable without one."""
    text = os.environ.get(VARIABLE) or str(DEFAULT_MAX_PIXELS)
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{VARIABLE} is '{text}', expected a number of pixels, such as {DEFAULT_MAX_PIXELS}")
    return int(text)


def require_few_pixels(height: int, width: int, where: str, error: type[FileError]) -> None:
    """Raise that error, which names `where`, for an image of more pixels than may be read."""
    if height * width > max_pixels():
        raise error(
            where,
            f"{height}x{width}, {height * width} pixels, expected at most {max_pixels()}; scale it, or let "
            f"{VARIABLE} allow as many",
        )


def open_image(source: Any, where: str, error: type[FileError], *, formats: list[str] | None = None) -> "Image.Image":
    """As Pillow's `Image.open`, under this limit instead of Pillow's own, which is lower.

    Raises: that error for an image of too many pixels; what Pillow raises, which is anything, for damaged ones.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = max_pixels()
    try:
        image = Image.open(source, formats=formats)
    except Image.DecompressionBombError as bomb:
        raise error(where, f"{bomb}; scale it, or let {VARIABLE} allow as many") from None
    require_few_pixels(image.height, image.width, where, error)
    return image
