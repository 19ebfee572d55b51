"""Up to which offset the labels of a store are safe to train on, in a sentence with its numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jobs.console.values import percent
from propagate.data.sample import CONFIDENCE_LEVELS
from propagate.scoring.metrics import accuracy, class_iou, covered, mean_iou
from propagate.scoring.report import OffsetCounts, Report

SAFE = 0.9  # an offset is safe where so many of its pixels are right, by their mean confidence


def verdict(levels_by_offset: Mapping[int, np.ndarray], scores: Report | None = None) -> str:
    """levels_by_offset: pixels by confidence level, [16] each. scores: against the truth, if there is one."""
    confidence = _by_distance(levels_by_offset)
    if not confidence:
        return "There are annotated frames alone, and nothing propagated to judge."
    safe = 0
    for distance, value in confidence.items():
        if value < SAFE:
            break
        safe = distance
    judged = safe or min(confidence)
    right = f"{_percent(confidence[judged])} of their pixels are probably right"
    beyond = next((distance for distance in confidence if distance > safe), None)
    if not safe:
        sentence = f"Labels are not safe at any offset: {right} at ±{judged}"
    elif beyond is None:
        sentence = f"Labels are safe up to ±{safe}, the farthest there are: {right} there"
    else:
        sentence = f"Labels are safe up to ±{safe}: {right} there, and {_percent(confidence[beyond])} at ±{beyond}"
    sentence += f", by their mean confidence ({percent(SAFE, 0)} % or more is safe)"
    counts = None if scores is None else scores.per_abs_offset.get(judged)
    if counts is not None:
        share = _percent(accuracy(covered(counts.whole)))  # of those that carry a class
        sentence += f"; by the truth {share} are right at ±{judged}, with a mIoU of {_percent(mean_iou(counts.whole))}"
    return f"{sentence}."


def truth_table(scores: Report) -> dict[str, Any]:
    """mIoU, and IoU by class, of each offset, of both directions together, and of all; fractions, NaN for none."""
    rows = [_row(f"{offset:+d}", scores.per_offset[offset]) for offset in sorted(scores.per_offset)]
    rows += [_row(f"±{distance}", counts) for distance, counts in scores.per_abs_offset.items()]
    rows.append(["mean ±", scores.scored, scores.miou, *scores.classes.values()])
    return {"columns": ["offset", "samples", "mIoU", *scores.class_names], "rows": rows}


def _row(name: str, counts: OffsetCounts) -> list[Any]:
    return [name, counts.samples, mean_iou(counts.whole), *class_iou(counts.whole).tolist()]


def _by_distance(levels_by_offset: Mapping[int, np.ndarray]) -> dict[int, float]:
    """The mean confidence by |offset|, the nearest first, without that of annotated frames."""
    pooled: dict[int, np.ndarray] = {}
    for offset, levels in levels_by_offset.items():
        if offset:
            pooled[abs(offset)] = pooled.get(abs(offset), 0) + levels
    of_level = np.arange(CONFIDENCE_LEVELS) / (CONFIDENCE_LEVELS - 1)
    return {
        distance: float(pooled[distance] @ of_level / pooled[distance].sum())
        for distance in sorted(pooled)
        if pooled[distance].any()
    }


def _percent(fraction: float) -> str:
    return f"{percent(fraction, 1)} %"
