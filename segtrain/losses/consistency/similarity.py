"""Self-similarity of single frames: how alike the places of a frame are, for a student as for its teacher.

Reference: Liu et al., "Structured Knowledge Distillation for Semantic Segmentation", CVPR 2019, section 3.2; in the
released code of ECCV 2020, whose paper does without it.
"""

from torch import Tensor
from torch.nn import functional

from segtrain.losses.consistency.pairs import pair_loss, published_pair_loss

PUBLISHED_STRIDE = 2


def similarity_loss(student: Tensor, teacher: Tensor, *, pool: int = 2) -> Tensor:
    """`pair_loss` of each frame with itself, of means over `pool` x `pool` places; a scalar.

    student: features [B,C,h,w]; teacher: [B,D,H,W], of any number of channels. Raises: ValueError for `pool` below 1.
    As published: means over windows that begin every 2 places, whatever `pool` is (`published_similarity_loss`).
    """
    student, teacher = pooled(student, pool), pooled(teacher, pool)
    return pair_loss(student, student, teacher, teacher)


def published_similarity_loss(student: Tensor, teacher: Tensor, *, pool: int = 2) -> Tensor:
    """As `similarity_loss`, exactly as released: windows overlap where `pool` is more than 2."""
    student, teacher = (functional.avg_pool2d(each, pool, PUBLISHED_STRIDE) for each in (student, teacher))
    return published_pair_loss(student, student, teacher, teacher)


def pooled(features: Tensor, pool: int) -> Tensor:
    """Means over `pool` x `pool` places; over what there is along a side that has fewer. The rest is left out."""
    if pool < 1:
        raise ValueError(f"pool must be 1 or more places, found {pool}")
    height, width = features.shape[-2:]
    return functional.avg_pool2d(features, (min(pool, height), min(pool, width)))
