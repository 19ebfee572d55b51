"""What every source of frames is to those who read it: frames of one recording, in order, by their number."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class FrameSequence(ABC):
    """Consecutive frames of one recording, all of one size.

    `name` says where they lie, for messages; `size` is (H, W); `paths` are the files that hold them. The frames of the
    last call are kept, so that a window that slides over a sequence decodes each frame once. What a sequence holds open
    is opened anew in another process.
    """

    def __init__(self, name: str, size: tuple[int, int], paths: tuple[Path, ...]) -> None:
        self.name, self.size, self.paths = name, size, paths
        self._kept: dict[int, np.ndarray] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _read(self, index: int) -> np.ndarray:
        """Frame `index` as [H,W,3] uint8 RGB. Raises: FrameError where it cannot be decoded."""

    def frames(self, start: int, stop: int) -> Tensor:
        """Frames start…stop-1: [T,3,H,W] uint8 RGB.

        Raises: ValueError, where the sequence does not have them; FrameError, where one cannot be decoded.
        """
        if not 0 <= start < stop <= len(self):
            raise ValueError(f"{self.name}: has frames 0…{len(self) - 1}, asked for were {start}…{stop - 1}")
        kept = self._kept
        self._kept = {i: kept[i] if i in kept else self._read(i) for i in range(start, stop)}
        return torch.from_numpy(np.stack([self._kept[i] for i in range(start, stop)])).permute(0, 3, 1, 2)

    def close(self) -> None:
        """Let go of open files and kept frames; the next reading opens them again."""
        self._kept = {}

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_kept": {}}
