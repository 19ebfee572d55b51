"""Samples whose carried labels are wrong in a known place, beside others of each origin."""

import numpy as np

from propagate.data.classes import ClassTable
from propagate.data.colours import colours_of_train_ids
from propagate.data.images import encode_png
from propagate.data.sample import Sample

CLASSES = ClassTable.from_json(
    {
        "name": "primary",
        "ignore_id": 0,
        "classes": [
            {"id": 0, "name": "void", "train_id": 255, "color": [0, 0, 0]},
            {"id": 9, "name": "bonnet", "train_id": 255, "color": [90, 0, 90]},
            {"id": 10, "name": "red", "train_id": 0, "color": [200, 0, 0]},
            {"id": 11, "name": "dark red", "train_id": 0, "color": [150, 0, 0]},
            {"id": 20, "name": "green", "train_id": 1, "color": [0, 200, 0]},
            {"id": 30, "name": "blue", "train_id": 2, "color": [0, 0, 200]},
        ],
    }
)
SIZE = (12, 24)
SURE, UNSURE = 14, 8
PLANTED = (slice(2, 5), slice(3, 8))  # carried as green, where the frame is red
VOID, BONNET = (slice(0, 1), slice(None)), (slice(11, 12), slice(None))
CARRIED = ("propagated", "fused")


def classes_there() -> np.ndarray:
    """[H,W] uint8 train ids: red, green and blue, from left to right."""
    return np.repeat(np.arange(3, dtype=np.uint8), SIZE[1] // 3)[None].repeat(SIZE[0], axis=0)


def sample_of(source: str, offset: int, origin: str, *, raw: bool = False) -> Sample:
    """A sample, one of whose pixels tells its frame from others; carried labels are wrong where PLANTED."""
    label_ids = np.array([10, 20, 30], np.uint8)
    pixels = colours_of_train_ids(classes_there(), CLASSES)
    pixels[6, 23] += np.uint8(abs(offset) + 10 * (offset < 0))
    label = label_ids[classes_there()]
    label[8, :4] = 11
    confidence = np.full(SIZE, SURE, np.uint8)
    reason = np.zeros(SIZE, np.uint8)
    if origin in CARRIED:
        label[PLANTED], confidence[PLANTED], reason[PLANTED] = 20, UNSURE, 1
        label[VOID], confidence[VOID] = 0, 1
        label[BONNET] = 9
    return Sample(
        key=f"{source}{offset:+}",
        source_key=source,
        group="a",
        offset=offset,
        pairing="label",
        origin=origin,
        second_source_key="other" if origin == "fused" else "",
        second_offset=offset - 9 if origin == "fused" else 0,
        image=pixels if raw else encode_png(pixels),
        label=label,
        confidence=confidence,
        reason=reason,
    )


def carried_shards(*, raw: bool = False) -> list[list[Sample]]:
    """Two shards, and three sources: the second shard has a sample too of the one that the first is of."""
    first = (("a", 0, "annotated"), ("a", 1, "propagated"), ("a", 2, "fused"), ("a", -1, "propagated"))
    second = (("b", -2, "propagated"), ("b", 3, "pseudo"), ("a", 3, "fused"))
    third = (("c", 0, "annotated"), ("c", 1, "propagated"))
    return [[sample_of(*each, raw=raw) for each in some] for some in (first, (*second, *third))]
