"""What the loop of every training needs of the training that it runs."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Losses(NamedTuple):
    """What a step is trained on, and what is told of it.

    total: a scalar, which is to go down. terms: scalars without gradient, by the names under which the log keeps them.
    """

    total: Tensor
    terms: Mapping[str, Tensor]
