"""Whether a confidence is as often right as it says, and whether it knows the wrong pixels: from reliability counts.

Reliability counts are [16,2] int64, the wrong and the right pixels of each confidence level, as `count_reliability`
makes them; those of several samples add up.
"""

import numpy as np

from propagate.data.sample import CONFIDENCE_LEVELS

LEVELS = np.arange(CONFIDENCE_LEVELS) / (CONFIDENCE_LEVELS - 1)  # what each stands for


def expected_calibration_error(reliability: np.ndarray) -> float:
    """How far what the levels say is from the share of right pixels, in the mean over pixels; NaN without pixels.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3, with a bin for each level.
    """
    pixels = reliability.sum(axis=1)
    if not pixels.sum():
        return float("nan")
    return float(np.abs(LEVELS * pixels - reliability[:, 1]).sum() / pixels.sum())


def risk_coverage_area(reliability: np.ndarray) -> float:
    """The share of wrong pixels among the surest, in the mean over how many of them are taken; NaN without pixels.

    0 where nothing is wrong; the share of wrong pixels where confidence says nothing. Within a level there is no order.

    Reference: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
    """
    wrong, pixels = reliability[::-1, 0], reliability[::-1].sum(axis=1)
    total = pixels.sum()
    if not total:
        return float("nan")
    area = 0.0
    taken, wrong_taken = 0.0, 0.0
    for more, more_wrong in zip(pixels.tolist(), wrong.tolist(), strict=True):
        if more and taken:  # the integral of (wrong_taken + rate · n) / (taken + n) for n from 0 to more
            rate = more_wrong / more
            area += rate * more + (wrong_taken - rate * taken) * float(np.log1p(more / taken))
        elif more:
            area += more_wrong
        taken, wrong_taken = taken + more, wrong_taken + more_wrong
    return area / float(total)
