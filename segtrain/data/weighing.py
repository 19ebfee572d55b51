"""How much the labels of a stored sample count in the loss, by how sure they are and how far they were carried."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from propagate.data.sample import CONFIDENCE_LEVELS
from propagate.shards.reader import SampleRecord
from segtrain.data.sampling import is_carried


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """by_confidence: whether a pixel counts as much as its confidence says. by_offset: what a propagated sample counts
    at |offset| 1, 2, …, each above 0; farther ones as the last; none, all the same.

    Annotated and pseudo-labelled samples count 1: of the latter, what is not sure has no label.
    """

    by_confidence: bool = False
    by_offset: tuple[float, ...] = ()

    def of_levels(self, record: SampleRecord) -> np.ndarray | None:
        """What a pixel of a sample counts, by the level of its confidence: [16] float32; None where all count 1."""
        of_offset, by_confidence = self._of_offset(record), self._is_by_confidence(record)
        if not by_confidence and of_offset == 1:
            return None
        sure = np.arange(CONFIDENCE_LEVELS) / (CONFIDENCE_LEVELS - 1) if by_confidence else np.ones(CONFIDENCE_LEVELS)
        return (of_offset * sure).astype(np.float32)

    def usual(self, records: Iterable[SampleRecord]) -> float:
        """What pixels of samples that are drawn count in the mean, as their records say; 1 where none counts."""
        of_samples = [
            self._of_offset(record) * (record.score if self._is_by_confidence(record) else 1.0) for record in records
        ]
        return float(np.mean(of_samples)) or 1.0

    def _of_offset(self, record: SampleRecord) -> float:
        if not self.by_offset or not record.offset or not is_carried(record):
            return 1.0
        return self.by_offset[min(abs(record.offset), len(self.by_offset)) - 1]

    def _is_by_confidence(self, record: SampleRecord) -> bool:
        return self.by_confidence and is_carried(record)


NO_WEIGHING = Weighing()
