"""Learning rates as factors of the first one: functions of how far a training has come, alone.

`position` and `length` are in any unit, such as epochs or steps; a position may be a fraction on its way. Position p of
n is trained at factor(p), so that the last one has a rate above 0. The published loop of segmentation steps its
schedule before it trains: with PyTorch 1.1 and later epoch e gets factor(e + 1), and the last one is trained at rate 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jobs.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What shapes a schedule; each takes what it needs.

    power: of poly, and of scaled-poly until `restart`, the position of its second part, whose power is `restart_power`
    and whose rate begins at `restart_rate` times the first.
    """

    power: float = 1.0
    restart: float = 0.0
    restart_rate: float = 1.0
    restart_power: float = 1.5


def poly(position: float, length: float, power: float = 1.0) -> float:
    """(1 − p/n)^power, from 1 to 0 at p = n.

    Raises: ValueError for a position outside 0…n. Reference: Chen et al., "DeepLab", PAMI 2018.
    """
    _require_within(position, length)
    return (1 - position / length) ** power


def scaled_poly(
    position: float,
    length: float,
    restart: float,
    *,
    power: float = 1.0,
    rescale: float = 1.0,
    restart_power: float = 1.5,
) -> float:
    """`poly` until `restart`; from there rescale · (1 − (p − restart)/(n − restart))^restart_power.

    For the second part of a training, once boundaries are no longer relaxed. Raises: ValueError for a position outside
    0…n, and for a restart that is not before n. Reference: Zhu et al., CVPR 2019.
    """
    _require_within(position, length)
    if not 0 <= restart < length:
        raise ValueError(f"the restart must be at or above 0 and below {length}, found {restart}")
    if position < restart:
        return poly(position, length, power)
    return rescale * poly(position - restart, length - restart, restart_power)


def cosine(position: float, length: float) -> float:
    """Half a period of the cosine, from 1 to 0 at p = n.

    Raises: ValueError for a position outside 0…n. Reference: Loshchilov and Hutter, "SGDR", ICLR 2017.
    """
    _require_within(position, length)
    return 0.5 * (1 + math.cos(math.pi * position / length))


def _require_within(position: float, length: float) -> None:
    if not 0 <= position <= length:
        raise ValueError(f"the position must be within 0…{length}, found {position}")


def _scaled_poly(position: float, length: float, curve: Curve) -> float:
    return scaled_poly(
        position,
        length,
        curve.restart,
        power=curve.power,
        rescale=curve.restart_rate,
        restart_power=curve.restart_power,
    )


Schedule = Callable[[float, float, Curve], float]  # position, length and what shapes it -> a factor
SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {
        "poly": lambda position, length, curve: poly(position, length, curve.power),
        "scaled-poly": _scaled_poly,
        "cosine": lambda position, length, _: cosine(position, length),
    },
)
