"""What a training shows of itself: an image, its true classes and those found, in colours."""

import numpy as np
import torch
from torch import Tensor

from propagate.data.classes import ClassTable
from propagate.data.colours import colours_of_train_ids
from segtrain.data.dataset import Pixels


def segmentation_picture(pixels: Pixels, found: np.ndarray, classes: ClassTable) -> Tensor:
    """Image, truth and prediction below one another, uint8 RGB [3,3H,W]; found: [H,W] uint8 train ids."""
    truth, prediction = (colours_of_train_ids(train_ids, classes) for train_ids in (pixels.label, found))
    stacked = np.concatenate([pixels.image, truth, prediction])
    return torch.from_numpy(stacked).permute(2, 0, 1)
