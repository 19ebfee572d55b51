"""Learning rates as factors of the first one, functions of the epoch alone; an epoch may be a fraction on its way.

Epoch e of E is trained at factor(e), so that the last one has a rate above 0. The published loop steps its schedule
before it trains: with PyTorch 1.1 and later epoch e gets factor(e + 1), and the last one is trained at rate 0.
"""

import math


def poly(epoch: float, num_epochs: int, power: float = 1.0) -> float:
    """(1 − e/E)^power, from 1 to 0 at e = E.

    Raises ValueError for an epoch outside 0…E. Reference: Chen et al., "DeepLab", PAMI 2018.
    """
    _require_within(epoch, num_epochs)
    return (1 - epoch / num_epochs) ** power


def scaled_poly(
    epoch: float,
    num_epochs: int,
    restart: int,
    *,
    power: float = 1.0,
    rescale: float = 1.0,
    restart_power: float = 1.5,
) -> float:
    """`poly` until epoch `restart`; from there rescale · (1 − (e − restart)/(E − restart))^restart_power.

    For the second part of a training, once boundaries are no longer relaxed. Raises ValueError for an epoch outside 0…E
    and a restart outside 0…E−1. Reference: Zhu et al., CVPR 2019.
    """
    _require_within(epoch, num_epochs)
    if not 0 <= restart < num_epochs:
        raise ValueError(f"the restart must be within epochs 0…{num_epochs - 1}, found {restart}")
    if epoch < restart:
        return poly(epoch, num_epochs, power)
    return rescale * poly(epoch - restart, num_epochs - restart, restart_power)


def cosine(epoch: float, num_epochs: int) -> float:
    """Half a period of the cosine, from 1 to 0 at e = E.

    Raises ValueError for an epoch outside 0…E. Reference: Loshchilov and Hutter, "SGDR", ICLR 2017.
    """
    _require_within(epoch, num_epochs)
    return 0.5 * (1 + math.cos(math.pi * epoch / num_epochs))


def _require_within(epoch: float, num_epochs: int) -> None:
    if not 0 <= epoch <= num_epochs:
        raise ValueError(f"the epoch must be within 0…{num_epochs}, found {epoch}")
