"""Frames that no file holds."""

import zlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class MemoryFrame:
    """A frame that is pixels, [H,W,3] uint8 RGB, and nothing else: see `propagate.data.clip.Frame`."""

    key: str
    values: np.ndarray

    @property
    def where(self) -> str:
        return f"memory: {self.key}"

    @property
    def identity(self) -> tuple[str, int]:
        return "memory", zlib.crc32(self.values.tobytes())

    def size(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def pixels(self) -> np.ndarray:
        return self.values

    def encoded(self) -> None:
        return None
