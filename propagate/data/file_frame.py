"""Frames that are files: what the data sets give."""

from dataclasses import dataclass

import numpy as np

from propagate.data.clip import Resource
from propagate.data.images import decode_frame, image_size, read_image


@dataclass(frozen=True, slots=True)
class FileFrame:
    """A frame that is a file, PNG or JPEG, plain or in an archive: see `propagate.data.clip.Frame`."""

    key: str
    image: Resource

    @property
    def where(self) -> str:
        return str(self.image)

    @property
    def identity(self) -> tuple[str, int, int | None]:
        return self.image.identity

    def size(self) -> tuple[int, int]:
        return image_size(self.image)

    def pixels(self) -> np.ndarray:
        return decode_frame(self.encoded(), self.where)

    def encoded(self) -> bytes:
        return read_image(self.image)
