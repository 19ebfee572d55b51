"""Neighbours of samples: frames at offsets from a sample's own frame. Samples that lack one of them can't be used."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from propagate.shards.reader import SampleRecord
from segtrain.errors import DataError

Frame = TypeVar("Frame")

_log = logging.getLogger(__name__)


def require_offsets(offsets: Sequence[int]) -> None:
    """Raise ValueError for an offset of 0, which is the sample's own frame, and for one that is repeated."""
    if 0 in offsets or len(set(offsets)) < len(offsets):
        raise ValueError(
            f"offsets of neighbours must differ from one another and from 0, the sample itself, found {tuple(offsets)}"
        )


def find_neighbours(
    records: Sequence[SampleRecord],
    around: Iterable[Mapping[int, Frame]],
    offsets: Sequence[int],
    *,
    where: str,
    there_is: str,
    advice: str,
) -> dict[int, tuple[Frame, ...]]:
    """The neighbours of each sample that has all of them, in the order of the offsets, by the sample's number.

    around: of each sample, the frames around it, by their offset from its own. How many samples are left out, if any,
    is logged. where, there_is, advice: for messages, where the samples lie, which frames there are and what to do.

    Raises: DataError where no sample is left.
    """
    found: dict[int, tuple[Frame, ...]] = {}
    lacking: list[str] = []
    for number, (record, frames) in enumerate(zip(records, around, strict=True)):
        missing = [offset for offset in offsets if offset not in frames]
        if missing:
            lacking.append(f"'{record.key}', has no frame at {missing[0]:+d} from its own")
        else:
            found[number] = tuple(frames[offset] for offset in offsets)
    if not found:
        asked = ", ".join(f"{offset:+d}" for offset in offsets)
        raise DataError(
            f"{where}: no sample of {len(records)} has all its neighbours, at {asked} from its own frame: the first, "
            f"{lacking[0]}; {there_is}; {advice}, or ask for other offsets"
        )
    if lacking:
        _log.warning(
            "%s: %d of %d samples are left out, since they lack a neighbour: the first, %s",
            where,
            len(lacking),
            len(records),
            lacking[0],
        )
    return found
