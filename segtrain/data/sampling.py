"""Which sample is trained on when, and around which point it is cropped: class-uniform epochs.

An epoch follows from the index, the settings, the seed and the epoch's number alone: neither loader workers nor ranks
have a say. Half of it, say, is spread evenly over the classes: crops around where a class lies. The rest are samples,
each as often as any other, cropped anywhere.

What differs from the published sampling: partial tiles have centroids (`segtrain.data.centroids`); and classes without
a pixel are reported and their share goes to the rest, where the published epoch becomes shorter (2975 → 2819 with two
of 19 absent).

Reference: Zhu et al., CVPR 2019, section 3.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from propagate.data.sample import ANNOTATED, PSEUDO
from propagate.shards.reader import SampleRecord
from segtrain.data.centroids import Centroids
from segtrain.data.index import ClassIndex
from segtrain.errors import DataError

COARSELY = "coarsely annotated"  # the origin of samples of which there is no more than crops around some classes
ANYWHERE = -1  # in place of a class and a point: cropped where the generator says


def is_carried(record: SampleRecord) -> bool:
    """Whether its labels were propagated, from one annotated frame or two, refined or not."""
    return record.origin not in (ANNOTATED, PSEUDO, COARSELY)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What an epoch is made of. Samples of origin COARSELY give crops around centroids of `coarse_classes` alone.

    class_uniform: the share of crops around centroids, 0…1, until the epoch `class_uniform_until` and with it.
    coarse_classes: train ids.
    boost: by train id, how many times as many crops a class gets as one that isn't named.
    propagated, pseudo: the shares of propagated samples, which are all but annotated and pseudo-labelled ones, and of
    pseudo-labelled ones, 0…1, no more than 1 together. The others have the rest; none leaves it to how many there are.
    propagated_until: the last epoch with propagated samples.
    max_offset, min_score: which propagated samples are used at all, by |offset| and by mean confidence.
    offsets: exactly those that are used, 0 for annotated frames; a fused sample has two, a pseudo-labelled none.
    length: of an epoch; none means as many as there are samples within the limits, also of kinds of share 0.

    Raises: ValueError for what lies outside these ranges.
    """

    class_uniform: float = 0.5
    class_uniform_until: int | None = None
    coarse_classes: tuple[int, ...] = ()
    boost: Mapping[int, float] = field(default_factory=dict)
    propagated: float | None = None
    propagated_until: int | None = None
    pseudo: float | None = None
    max_offset: int | None = None
    offsets: tuple[int, ...] | None = None
    min_score: float = 0.0
    length: int | None = None

    def __post_init__(self) -> None:
        for name in ("class_uniform", "propagated", "pseudo", "min_score"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be within 0…1, found {value}")
        if (self.propagated or 0) + (self.pseudo or 0) > 1:
            raise ValueError(f"propagated {self.propagated} and pseudo {self.pseudo} are shares, at most 1 together")
        for name, least in (("max_offset", 0), ("length", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be {least} or more, found {value}")
        if any(factor <= 0 for factor in self.boost.values()):
            raise ValueError(f"boost must be above 0 for every class, found {dict(self.boost)}")


@dataclass(frozen=True)
class Epoch:
    """The items of an epoch in the order of training; all [n] int64.

    sample: the number of the sample in the index. train_id, x, y: the class whose centroid is at pixel (x, y), around
    which to crop, or ANYWHERE. num_usable: of how many samples the items may be. absent: the train ids that none of
    these has a pixel of.
    """

    seed: int
    number: int
    sample: np.ndarray
    train_id: np.ndarray
    x: np.ndarray
    y: np.ndarray
    num_usable: int
    absent: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.sample)

    def generator(self, position: int) -> np.random.Generator:
        """The randomness of the item at a position, for its crop and transforms."""
        return np.random.default_rng([self.seed, self.number, 1 + position])  # [s, e, 0] gives the same as [s, e]

    def chooser(self, position: int) -> np.random.Generator:
        """The randomness by which the item at a position chooses its neighbours, whatever else is drawn for it."""
        return np.random.default_rng([self.seed, self.number, 1 + position, 1])


def build_epoch(index: ClassIndex, sampling: Sampling, *, seed: int, epoch: int) -> Epoch:
    """The items of an epoch, shuffled.

    Raises: DataError where the limits leave no sample, or none of a kind that the mixing ratio asks for; ValueError for
    a boost of classes that don't exist.
    """
    foreign = sorted(set(sampling.boost) - set(range(index.num_classes)))
    if foreign:
        raise ValueError(f"boost names train ids {foreign}, expected some within 0…{index.num_classes - 1}")
    random = np.random.default_rng([seed, epoch])
    class_uniform = 0.0 if _is_over(sampling.class_uniform_until, epoch) else sampling.class_uniform
    boost = np.array([sampling.boost.get(train_id, 1.0) for train_id in range(index.num_classes)])
    pools = _pools(index, sampling, with_propagated=not _is_over(sampling.propagated_until, epoch))
    coarse = np.flatnonzero([record.origin == COARSELY for record in index.records])
    also = np.isin(index.centroids.sample, coarse) & np.isin(index.centroids.train_id, sampling.coarse_classes)
    draws = [
        draw(index.centroids, pool, num_items, class_uniform, boost, random, also=also & is_rest)
        for pool, num_items, is_rest in pools
    ]
    sample, centroid = (np.concatenate(columns) for columns in zip(*draws, strict=True))
    order = random.permutation(len(sample))
    train_id, x, y = (
        np.append(column.astype(np.int64), ANYWHERE)[centroid[order]]  # ANYWHERE is -1, the last
        for column in (index.centroids.train_id, index.centroids.x, index.centroids.y)
    )
    pooled = np.concatenate([pool for pool, *_ in pools])
    usable = also | np.isin(index.centroids.sample, pooled)
    num_usable = len(np.union1d(pooled, index.centroids.sample[also]))
    pixels = np.bincount(index.centroids.train_id[usable], minlength=index.num_classes)
    absent = tuple(np.flatnonzero(pixels == 0).tolist())
    return Epoch(seed, epoch, sample[order], train_id, x, y, num_usable, absent)


def _is_over(last: int | None, epoch: int) -> bool:
    return last is not None and epoch > last


def _pools(index: ClassIndex, sampling: Sampling, *, with_propagated: bool) -> list[tuple[np.ndarray, int, bool]]:
    """The numbers of the samples to draw from, how many items to draw, and whether they are those without a share."""
    near = np.array([_is_near(record, sampling) for record in index.records], bool)
    _require_offsets(index, sampling)
    score = np.array([record.score for record in index.records])
    annotated, pseudo = (
        np.array([record.origin == origin for record in index.records], bool) for origin in (ANNOTATED, PSEUDO)
    )
    carried = np.array([is_carried(record) for record in index.records], bool)
    propagated = carried & near & (score >= sampling.min_score) & with_propagated
    annotated &= near
    usable = annotated | propagated | pseudo
    length = sampling.length or int(usable.sum())
    kinds = []
    rest, num_left = usable, length
    for name, pool, share in (
        ("propagated ", propagated, sampling.propagated if with_propagated else None),
        ("pseudo-labelled ", pseudo, sampling.pseudo),
    ):
        if share is not None:
            num_items = min(num_left, round(length * share))
            kinds.append((name, pool, num_items))
            rest, num_left = rest & ~pool, num_left - num_items
    others = "annotated " if sampling.propagated is not None else "annotated or propagated " * bool(kinds)
    kinds.append((others, rest, num_left))
    for name, pool, num_items in kinds:
        if not pool.any() and (num_items or not length):
            raise DataError(
                f"no {name}sample to train on among {len(near)}, {_told_limits(sampling)}, of propagated ones "
                f"{_told_scores(sampling, with_propagated)}; widen the limits, change the shares of propagated and "
                "pseudo-labelled samples, or name a store that has some, or by --train-split annotated frames"
            )
    return [(np.flatnonzero(pool), num_items, pool is rest) for _, pool, num_items in kinds if num_items]


def _is_near(record: SampleRecord, sampling: Sampling) -> bool:
    """Whether the sample's offset is one that is used; of exactly these, a fused sample has two."""
    if sampling.offsets is not None:
        return not _offsets(record).isdisjoint(sampling.offsets)
    return sampling.max_offset is None or abs(record.offset) <= sampling.max_offset


def _offsets(record: SampleRecord) -> set[int]:
    """From each annotated frame that it has labels of."""
    return {record.offset, record.second_offset} if record.second_source_key else {record.offset}


def _require_offsets(index: ClassIndex, sampling: Sampling) -> None:
    """Raise DataError where there are propagated samples, but at one of the offsets asked for none."""
    propagated = [record for record in index.records if is_carried(record)]
    there = set[int]().union(*map(_offsets, propagated))
    if propagated and (lacking := set(sampling.offsets or ()) - there - {0}):
        raise DataError(
            f"no propagated sample at offset {', '.join(map(str, sorted(lacking)))}; there are some at "
            f"{', '.join(map(str, sorted(there)))}: choose other --offsets, or store more with `propagate run`"
        )


def _told_limits(sampling: Sampling) -> str:
    if sampling.offsets is not None:
        return f"at offsets {', '.join(map(str, sampling.offsets))}"
    return "at all offsets" if sampling.max_offset is None else f"within |offset| {sampling.max_offset}"


def _told_scores(sampling: Sampling, with_propagated: bool) -> str:
    if not with_propagated:
        return f"none after epoch {sampling.propagated_until} (--propagated-until, counted from 0)"
    return f"from mean confidence {sampling.min_score}"


class Permutations(Protocol):
    """The randomness that drawing takes, as NumPy's generators have it."""

    def permutation(self, x: int, /) -> np.ndarray: ...


def draw(
    centroids: Centroids,
    pool: np.ndarray,
    num_items: int,
    class_uniform: float,
    boost: np.ndarray,
    random: Permutations,
    *,
    also: np.ndarray | bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw items from a pool of samples: their samples, and the rows of their centroids or ANYWHERE; [num_items] each.

    also: [rows of centroids] bool, those of other samples around which to crop as well.

    First those cropped anywhere, then class by class int(num_items · class_uniform / C), with equal boost [C], around
    centroids. All samples, and all centroids of a class, occur before one occurs again.
    """
    is_drawn = np.isin(centroids.sample, pool) | also
    rows_of = [np.flatnonzero(is_drawn & (centroids.train_id == train_id)) for train_id in range(len(boost))]
    quota = (num_items * class_uniform * boost / boost.sum()).astype(int)
    quota[[len(rows) == 0 for rows in rows_of]] = 0
    num_anywhere = num_items - int(quota.sum())
    anywhere = pool[_in_turns(len(pool), num_anywhere, random)]
    rows = np.concatenate(
        [rows[_in_turns(len(rows), num, random)] for rows, num in zip(rows_of, quota.tolist(), strict=True)]
    )
    sample = np.concatenate([anywhere, centroids.sample[rows]])
    return sample, np.concatenate([np.full(num_anywhere, ANYWHERE), rows])


def _in_turns(num_available: int, num_wanted: int, random: Permutations) -> np.ndarray:
    """Numbers below `num_available`, in one random order after another: [num_wanted] int64."""
    if num_wanted == 0:
        return np.zeros(0, np.int64)
    num_orders = -(-num_wanted // num_available)
    return np.concatenate([random.permutation(num_available) for _ in range(num_orders)])[:num_wanted]
