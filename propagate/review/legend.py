"""The classes of a store as a page shows them: numbered from 0, with what its label maps hold beside its table."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID, LabelClass
from propagate.shards.manifest import Manifest


@dataclass(frozen=True)
class Legend:
    """Classes by their index on the page; index_of: [256] uint8, label id -> index, 255 where there is none."""

    classes: tuple[LabelClass, ...]
    index_of: np.ndarray

    @classmethod
    def of(cls, manifest: Manifest) -> "Legend":
        """The class table's own, in its order, then label ids that only its shards know, black and ignored."""
        classes = list(manifest.classes.classes)
        known = {c.id for c in classes}
        stored = {label for entry in manifest.entries() for label in entry.labels}
        for label in sorted(stored - known):
            classes.append(LabelClass(id=label, name=f"id {label}", train_id=IGNORE_TRAIN_ID, color=(0, 0, 0)))
        return cls(tuple(classes), _index_of(classes))

    def __len__(self) -> int:
        return len(self.classes)

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {
                "id": c.id,
                "name": c.name,
                "color": "#" + bytes(c.color).hex(),
                "ignored": c.train_id == IGNORE_TRAIN_ID,
                "train_id": c.train_id,
            }
            for c in self.classes
        ]


def _index_of(classes: list[LabelClass]) -> np.ndarray:
    table = np.full(256, 255, np.uint8)
    table[[c.id for c in classes]] = np.arange(len(classes))
    return table
