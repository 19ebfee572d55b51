"""What the networks expect of images."""

from collections.abc import Mapping

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's images in [0,1], red, green, blue
STD = (0.229, 0.224, 0.225)
PREPROCESSING: Mapping[str, object] = {
    "colour_order": "RGB",
    "levels": [0, 255],
    "normalised": "(image / 255 - mean) / std",
    "mean": list(MEAN),
    "std": list(STD),
}


def normalised(images: Tensor) -> Tensor:
    """RGB images [B,3,H,W], uint8 or floating, 0…255 -> float32, less ImageNet's mean, in its standard deviations."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
    return (images.to(torch.float32) / 255 - mean) / std
