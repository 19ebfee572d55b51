"""What every loss asks of the logits that it is given."""

import torch
from torch import Tensor


def require_pair(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
    """Raise ValueError where logits [B,C,H,W], labels and weights [B,H,W] don't belong together."""
    if logits.ndim != 4 or labels.shape != (len(logits), *logits.shape[2:]):
        raise ValueError(
            f"expected logits [B,C,H,W] and labels [B,H,W] of one size, found {list(logits.shape)} and "
            f"{list(labels.shape)}"
        )
    if weights is not None and weights.shape != labels.shape:
        raise ValueError(f"expected a weight of each pixel, {list(labels.shape)}, found {list(weights.shape)}")


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """float32 in place of what is narrower."""
    return torch.promote_types(dtype, torch.float32)
