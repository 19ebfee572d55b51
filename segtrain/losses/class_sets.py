"""Which classes lie around each pixel: what boundary label relaxation trains a pixel towards.

A set of classes is a bit mask: bit c of its words says whether class c is in it, bit C whether an ignored pixel is.
Sets of whole windows come from OR-pooling those masks, on the device that holds the label map; a loader hands over the
plain label map and nothing else.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from propagate.data.classes import IGNORE_TRAIN_ID

WORD_BITS = 32  # of an int32: 19 classes and ignore take one word, the 65 of Mapillary three
OFF_WEIGHT = 2.0  # of boundary pixels, once relaxation is off


class RelaxedTarget(NamedTuple):
    """A label map whose boundary pixels have sets of classes: M of them, of P members together.

    classes [B,H,W] int64: the pixel's class 0…C-1, or one of its set; C where it has none and is ignored.
    emphasis [B,H,W] float32: how often a pixel counts.
    image, pixel [M] int64: the pixels whose set is anything but their own class alone, and in which image each is;
    `pixel` counts those of all images, [B·H·W].
    near_ignored [M] bool: whether an ignored pixel, or the outside of the image, is in their window.
    num_members [M] int64: how many classes are in their sets, at least one.
    row, member [P] int64: the sets, one after the other: which of the M pixels has which class.
    """

    classes: Tensor
    emphasis: Tensor
    image: Tensor
    pixel: Tensor
    near_ignored: Tensor
    num_members: Tensor
    row: Tensor
    member: Tensor


def own_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Train ids [B,H,W] of any integer type, 255 for ignored -> the same as int64, with C for ignored.

    Raises: ValueError for another shape or type, and for a train id that is neither a class nor 255.
    """
    if labels.ndim != 3 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels are train ids [B,H,W] of an integer type, found {list(labels.shape)} {labels.dtype}")
    if not 0 < num_classes <= IGNORE_TRAIN_ID:
        raise ValueError(f"num_classes must be within 1…{IGNORE_TRAIN_ID}, found {num_classes}")
    ignored = labels == IGNORE_TRAIN_ID
    foreign = ((labels < 0) | (labels >= num_classes)) & ~ignored
    if foreign.any():
        found = labels[foreign].unique().tolist()
        raise ValueError(
            f"the labels hold {found}; train ids are 0…{num_classes - 1}, and {IGNORE_TRAIN_ID} for ignored pixels"
        )
    return labels.to(torch.int64, copy=True).masked_fill_(ignored, num_classes)


def class_sets(classes: Tensor, num_classes: int, border: int, strict_classes: Sequence[int] = ()) -> Tensor:
    """The set of classes in the (2b+1)² window around each pixel.

    classes [B,H,W] int64, C for ignored (see `own_classes`). What lies outside the image counts as ignored. A pixel of
    a strict class has that class alone; it still is in the sets of its neighbours.

    Returns [K,B,H,W] int32 bit masks, K words of 32 bits: 1 up to 31 classes.

    Reference: Zhu et al., CVPR 2019, section 3.3.
    """
    if border < 0:
        raise ValueError(f"border must be 0 or more pixels, found {border}")
    outside = [c for c in strict_classes if not 0 <= c < num_classes]
    if outside:
        raise ValueError(f"strict classes are train ids within 0…{num_classes - 1}, found {outside}")
    words, bits = _bit_of_class(num_classes, classes.device)
    num_words = num_classes // WORD_BITS + 1
    of_class = [torch.where(words == word, bits, 0) for word in range(num_words)]
    own = torch.stack([word.index_select(0, classes.flatten()).view(classes.shape) for word in of_class])
    if border == 0:
        return own
    sets = _or_along(_or_along(own, border, dim=-1), border, dim=-2)
    for edge in (sets[..., :border, :], sets[..., -border:, :], sets[..., :border], sets[..., -border:]):
        edge[-1] |= bits[-1]  # ignored is the last bit of the last word
    if strict_classes:
        is_strict = torch.zeros(num_classes + 1, dtype=torch.bool, device=classes.device)
        is_strict[list(strict_classes)] = True
        sets = torch.where(is_strict.take(classes), own, sets)
    return sets


def _bit_of_class(num_classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each class and ignored, which word its bit is in, and that word: [C+1] int32 each."""
    index = torch.arange(num_classes + 1, dtype=torch.int32, device=device)
    return index // WORD_BITS, torch.ones_like(index) << index % WORD_BITS


def _or_along(sets: Tensor, border: int, dim: int) -> Tensor:
    """Each pixel's set united with those up to `border` pixels away along one dimension."""
    united = sets.clone()
    length = sets.shape[dim]
    for shift in range(1, min(border, length - 1) + 1):
        near, far = (0, length - shift), (shift, length - shift)
        united.narrow(dim, *near).bitwise_or_(sets.narrow(dim, *far))
        united.narrow(dim, *far).bitwise_or_(sets.narrow(dim, *near))
    return united


def members_of(sets: Tensor, num_classes: int) -> Tensor:
    """Bit masks [K,M] int32 -> [M,C+1] bool."""
    index = torch.arange(WORD_BITS, dtype=torch.int32, device=sets.device)
    members = [(word[:, None] >> index).bitwise_and_(1).bool() for word in sets]
    return torch.cat(members, dim=1)[:, : num_classes + 1]


def boundaries(labels: Tensor) -> Tensor:
    """Where the pixel above, below, left or right has another value; 255 is a value too: [B,H,W] -> bool."""
    found = torch.zeros_like(labels, dtype=torch.bool)
    for dim in (-1, -2):
        length = labels.shape[dim] - 1
        differs = labels.narrow(dim, 0, length) != labels.narrow(dim, 1, length)
        found.narrow(dim, 0, length).logical_or_(differs)
        found.narrow(dim, 1, length).logical_or_(differs)
    return found


def relaxed_target(
    labels: Tensor, num_classes: int, *, border: int = 1, strict_classes: Sequence[int] = (), relaxed: bool = True
) -> RelaxedTarget:
    """The target of boundary label relaxation, computed on the device of the labels.

    labels: [B,H,W] train ids of any integer type, 255 for ignored. Once `relaxed` is off, windows have half the border,
    rounded down, and boundary pixels count twice.

    Quirk kept for parity: an ignored pixel that touches a class is trained towards that class.

    Raises: ValueError for labels that are no train ids, a negative border, and strict classes that do not exist.
    Reference: Zhu et al., CVPR 2019, section 3.3.
    """
    classes = own_classes(labels, num_classes)
    sets = class_sets(classes, num_classes, border if relaxed else border // 2, strict_classes)
    pixel = (sets != class_sets(classes, num_classes, 0)).any(dim=0).flatten().nonzero().flatten()
    members = members_of(sets.flatten(1).index_select(1, pixel), num_classes)
    near_ignored, members = members[:, num_classes], members[:, :num_classes]
    num_members = members.count_nonzero(dim=1)
    row, member = members.nonzero(as_tuple=True)
    classes.put_(pixel, member.take(num_members.cumsum(dim=0) - num_members))  # the first of each set
    emphasis = torch.ones(labels.shape, device=labels.device)
    if not relaxed:
        emphasis[boundaries(labels)] = OFF_WEIGHT
    image = pixel // classes[0].numel()
    return RelaxedTarget(classes, emphasis, image, pixel, near_ignored, num_members, row, member)


def per_set(reduce: str, of_members: Tensor, target: RelaxedTarget) -> Tensor:
    """The sum, mean or max over each set: [P] -> [M]."""
    return torch.segment_reduce(of_members, reduce, lengths=target.num_members, unsafe=True)  # lengths do add up
