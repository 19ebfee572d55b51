"""The files of the truth folder: where they lie, what they hold, and how occlusion is read."""

from pathlib import Path

import numpy as np

from jobs.files import open_regular
from propagate.errors import InputError
from sdcnet.flow_files import PNG_LIMIT, PNG_UNITS, PNG_ZERO, decode_png

TRUTH_FOLDER = "truth"
OTHER_FRAMES = {-1: "previous", 1: "next"}  # offset -> its name in file names

FORMAT = f"""\
What is exactly known of every frame, in <split>/<city>/<key>_*.png; <key> is <city>_<snippet>_<frame>.

<key>_gtFine_labelIds.png       8 bits: the label id of Cityscapes, 0 to 33, of what is seen at the pixel's centre.
<key>_flow_to_next.png          16 bits, RGB, as KITTI stores flow, on this frame's grid:
                                  dx = (R - {PNG_ZERO}) / {PNG_UNITS} pixels,
                                  dy = (G - {PNG_ZERO}) / {PNG_UNITS} pixels, B = 1 where they are valid.
                                What is seen here at (x, y) is at (x + dx, y + dy) in the next frame, whether it
                                is seen there or not.
<key>_flow_to_previous.png      The same, into the previous frame.
<key>_occluded_in_next.png      8 bits: 255 where what is seen here is hidden in, or outside of, the next frame; else 0.
<key>_occluded_in_previous.png  The same, for the previous frame.

The first frame of a snippet has no previous frame, the last no next one. A flow is invalid only where it is longer
than {PNG_LIMIT:.0f} pixels along an axis or ends behind the camera.
"""


def truth_path(folder: Path, key: str, what: str) -> Path:
    """A file of the truth about a frame; what: ``flow_to_next``, ``occluded_in_previous``, ``gtFine_labelIds`` …"""
    return folder / f"{key}_{what}.png"


def read_occlusion(path: Path) -> np.ndarray:
    """Where a frame's surface is not seen in the other frame: bool [H,W]. Raises: InputError."""
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None
    image = decode_png(data, str(path), InputError)
    if image is None or image.dtype != np.uint8 or image.ndim != 2:
        found = "no image" if image is None else f"{image.dtype} of shape {image.shape}"
        raise InputError(str(path), f"found {found}, expected a PNG of uint8 [H,W]")
    return image > 0
