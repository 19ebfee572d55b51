"""What the data files of a report hold."""

import base64
import json
import re
import zlib
from typing import Any

import numpy as np

_CALL = re.compile(rb"report\.(\w+)\((?:(\d+), )?(.*)\);\n", re.DOTALL)


def data_of(script: bytes) -> Any:
    """What a data file calls the page's function with, apart from a number."""
    match = _CALL.fullmatch(script)
    assert match, script[:80]
    return json.loads(match[3])


def map_of(picture: dict[str, Any], name: str) -> np.ndarray:
    """[h,w] uint8 of a picture."""
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(picture[name])), np.uint8)
    return pixels.reshape(picture["height"], picture["width"])
