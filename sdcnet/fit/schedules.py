"""Learning rates as functions of the step alone, so that a resumed training goes on where it was."""

import math

SCHEDULES = ("cosine", "poly")
POLY_POWER = 0.9
WARM_UP = 0.02  # of all steps, but no more than
MOST_WARM_UP = 1000  # steps


def learning_rate(schedule: str, step: int, num_steps: int, peak: float) -> float:
    """The learning rate of step 0…num_steps-1: it rises in a line to `peak`, then falls towards 0.

    cosine: half a period of it. poly: (1 - progress)^0.9. Raises ValueError for another schedule.
    Reference: Loshchilov and Hutter, ICLR 2017 (cosine); Chen et al., PAMI 2018 (poly).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"a schedule is one of {', '.join(SCHEDULES)}, found '{schedule}'")
    num_rising = min(MOST_WARM_UP, math.ceil(WARM_UP * num_steps))
    if step < num_rising:
        return peak * (step + 1) / num_rising
    progress = (step - num_rising) / max(1, num_steps - num_rising)
    return peak * (0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else (1 - progress) ** POLY_POWER)
