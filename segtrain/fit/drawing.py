"""What a training shows of itself: an image, its true classes and those found, in colours."""

import numpy as np
import torch
from torch import Tensor

from propagate.data.classes import ClassTable
from segtrain.data.dataset import Pixels
from segtrain.prediction.views import colours


def segmentation_picture(pixels: Pixels, found: np.ndarray, classes: ClassTable) -> Tensor:
    """Image, truth and prediction below one another, uint8 RGB [3,3H,W]; found: [H,W] uint8 train ids."""
    stacked = np.concatenate([pixels.image, colours(pixels.label, classes), colours(found, classes)])
    return torch.from_numpy(stacked).permute(2, 0, 1)
