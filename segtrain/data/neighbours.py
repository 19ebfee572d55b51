"""Neighbours of samples: frames at offsets from a sample's own frame."""

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
    all_needed: bool,
    where: str,
    there_is: str,
    advice: str,
) -> dict[int, dict[int, Frame]]:
    """The neighbours of each sample by offset, in the order of the offsets, by the sample's number.

    around: of each sample, the frames around it, by their offset from its own. all_needed: samples that lack one are
    left out; otherwise all stay, with those that they have. How many lack one, or any, is logged. where, there_is,
    advice: for messages, where the samples lie, which frames there are and what to do.

    Raises: DataError where no sample is left.
    """
    found: dict[int, dict[int, Frame]] = {}
    lacking: list[str] = []
    for number, (record, frames) in enumerate(zip(records, around, strict=True)):
        there = {offset: frames[offset] for offset in offsets if offset in frames}
        missing = [offset for offset in offsets if offset not in there]
        if missing and (all_needed or not there):
            lacking.append(f"'{record.key}', has no frame at {missing[0]:+d} from its own")
        if not (missing and all_needed):
            found[number] = there
    asked = ", ".join(f"{offset:+d}" for offset in offsets)
    if not found:
        raise DataError(
            f"{where}: no sample of {len(records)} has all its neighbours, at {asked} from its own frame: the first, "
            f"{lacking[0]}; {there_is}; {advice}, or ask for other offsets"
        )
    if lacking:
        become = "are left out, since they lack a neighbour" if all_needed else f"have no neighbour at {asked}"
        _log.warning("%s: %d of %d samples %s: the first, %s", where, len(lacking), len(records), become, lacking[0])
    return found
