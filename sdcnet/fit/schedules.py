"""Learning rates as functions of the step alone, so that a resumed training goes on where it was."""

import math

from jobs.registry import Registry
from jobs.training.schedules import SCHEDULES as ALL_SCHEDULES
from jobs.training.schedules import Curve, Schedule

# Those without a second part, which this training does not have.
SCHEDULES: Registry[Schedule] = Registry("schedule", {name: ALL_SCHEDULES[name] for name in ("cosine", "poly")})
CURVE = Curve(power=0.9)
WARM_UP = 0.02  # of all steps, but no more than
MOST_WARM_UP = 1000  # steps


def learning_rate(schedule: str, step: int, num_steps: int, peak: float) -> float:
    """The learning rate of step 0…num_steps-1: it rises in a line to `peak`, then falls towards 0.

    cosine: half a period of it. poly: (1 - progress)^0.9. Raises: ValueError for another schedule.
    """
    fall = SCHEDULES[schedule]
    num_rising = min(MOST_WARM_UP, math.ceil(WARM_UP * num_steps))
    if step < num_rising:
        return peak * (step + 1) / num_rising
    progress = (step - num_rising) / max(1, num_steps - num_rising)
    return peak * fall(progress, 1, CURVE)
