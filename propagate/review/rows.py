"""A row per sample, in columns of some 400 bytes a row."""

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from propagate.data.sample import CONFIDENCE_LEVELS, COVERED, ENTERED, ORIGINS, PAIRINGS, Sample

HALF = CONFIDENCE_LEVELS // 2  # the first level that stands for a confidence above a half


class Numbering:
    """Texts by number, in the order in which they first come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)


class Rows:
    """The rows of samples in columns, in the order of `Store.samples`; NaN stands for what is not known."""

    def __init__(self) -> None:
        self.sources, self.groups = Numbering(), Numbering()
        self.key: list[str] = []
        self.digest: list[str] = []
        self.source, self.group, self.offset = array("l"), array("l"), array("l")
        self.pairing, self.origin = array("B"), array("B")
        self.score, self.doubtful, self.fresh = array("f"), array("f"), array("f")
        self.miou, self.wrong, self.differs = array("f"), array("f"), array("f")
        self._levels = array("H")  # per mille, CONFIDENCE_LEVELS a row
        self._class_index, self._class_score, self._class_end = array("B"), array("f"), array("l", [0])

    def __len__(self) -> int:
        return len(self.key)

    def add(self, sample: Sample, digest: str, counts: np.ndarray, score: float) -> None:
        """counts: [C,16], its pixels by class index and confidence level. score: by which rows are ordered."""
        pixels = int(counts.sum())
        by_level, by_class = counts.sum(axis=0), counts.sum(axis=1)
        present = np.flatnonzero(by_class)
        self.key.append(sample.key)
        self.digest.append(digest)
        self.source.append(self.sources(sample.source_key))
        self.group.append(self.groups(sample.group))
        self.offset.append(sample.offset)
        self.pairing.append(PAIRINGS.index(sample.pairing))
        self.origin.append(ORIGINS.index(sample.origin))
        self.score.append(score)
        self.doubtful.append(by_level[:HALF].sum() / pixels)
        self.fresh.append(fresh_share(sample))
        self._levels.extend(np.rint(1000 * by_level / pixels).astype(int).tolist())
        self._class_index.extend(present.tolist())
        self._class_score.extend((_mean_confidence(counts[present]) if len(present) else present).tolist())
        self._class_end.append(len(self._class_index))

    def judge(self, miou: float, wrong: float, differs: float) -> None:
        """What others say of the sample that was added last."""
        self.miou.append(miou)
        self.wrong.append(wrong)
        self.differs.append(differs)

    def columns(self, start: int, stop: int, drawn: Sequence[bool]) -> dict[str, Any]:
        """Rows from start up to stop as plain values; drawn: of each of all rows, whether it has a picture."""
        part = slice(start, min(stop, len(self)))
        runs = [slice(*self._class_end[row : row + 2]) for row in range(part.start, part.stop)]
        levels = self._levels[part.start * CONFIDENCE_LEVELS : part.stop * CONFIDENCE_LEVELS].tolist()
        return {
            "start": start,
            "key": self.key[part],
            "source": self.source[part].tolist(),
            "group": self.group[part].tolist(),
            "offset": self.offset[part].tolist(),
            "pairing": self.pairing[part].tolist(),
            "origin": self.origin[part].tolist(),
            "digest": self.digest[part],
            "score": _told(self.score[part], 4),
            "doubtful": _told(self.doubtful[part], 4),
            "fresh": _told(self.fresh[part], 4),
            "levels": [levels[at : at + CONFIDENCE_LEVELS] for at in range(0, len(levels), CONFIDENCE_LEVELS)],
            "classes": [self._class_index[run].tolist() for run in runs],
            "class_score": [_told(self._class_score[run], 3) for run in runs],
            "drawn": [int(each) for each in drawn[part]],
            "miou": _told(self.miou[part], 4),
            "wrong": _told(self.wrong[part], 4),
            "differs": _told(self.differs[part], 4),
        }


def fresh_share(sample: Sample) -> float:
    """The share of pixels that the annotated frame does not show; NaN where that is not known."""
    reason = sample.reason
    return math.nan if reason is None else float(((reason == COVERED) | (reason == ENTERED)).mean())


def _mean_confidence(counts: np.ndarray) -> np.ndarray:
    """[...,16] pixels by level, some in each row -> [...] their mean confidence."""
    return counts @ np.arange(CONFIDENCE_LEVELS) / (CONFIDENCE_LEVELS - 1) / counts.sum(axis=-1)


def _told(values: Sequence[float], decimals: int) -> list[float | None]:
    return [None if math.isnan(value) else round(value, decimals) for value in values]
