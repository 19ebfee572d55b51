"""A store as a data set of PyTorch's."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.data.images import decode_frame
from propagate.data.sample import CONFIDENCE_LEVELS
from propagate.shards.reader import Store, open_store


class StoreDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The samples of a store: image [3,H,W] uint8 RGB, train ids [H,W] int64, and confidence [H,W] float32 in [0,1].

    255 among the train ids is for what is not trained on, and for pixels that are less sure than `min_confidence`. For
    a `DataLoader` with any number of processes. Raises: StoreError, InputError for a damaged frame.
    """

    def __init__(self, store: Store | str | Path, *, min_confidence: float = 0.0) -> None:
        self.store = store if isinstance(store, Store) else open_store(Path(store).absolute())
        self.classes = self.store.manifest.classes
        self._min_confidence = min_confidence

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        sample = self.store[number]
        image = decode_frame(sample.image, sample.key) if isinstance(sample.image, bytes) else sample.image
        confidence = torch.from_numpy(sample.confidence).float() / (CONFIDENCE_LEVELS - 1)
        train_ids = torch.from_numpy(self.classes.train_id_of[sample.label].astype(np.int64))
        train_ids[confidence < self._min_confidence] = IGNORE_TRAIN_ID
        return torch.from_numpy(image).permute(2, 0, 1).contiguous(), train_ids, confidence
