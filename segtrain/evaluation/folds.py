"""Whether the fold that a network is scored on is the one that it was validated on: a name is not enough.

Folds were cut otherwise once: a network that was trained then has seen cities which its fold's name now holds out.
"""

from collections.abc import Mapping
from typing import Any

from propagate.datasets.base import DatasetOptions
from segtrain.data.dataset import SegmentationDataset
from segtrain.data.identity import groups, identity
from segtrain.errors import DataError

FOLD = "cv"  # how the names of folds begin


def require_same_fold(
    about: Mapping[str, Any], dataset: str, options: DatasetOptions, samples: SegmentationDataset
) -> None:
    """Raise DataError where a network was validated on a fold of this name that held out other cities.

    about: what the file of weights says of itself; of a file that says nothing, nothing is known. options: those that
    the samples were opened with.
    """
    stated = about.get("settings")
    settings = stated if isinstance(stated, Mapping) else {}
    if not options.split.startswith(FOLD) or (dataset, options.split) != (
        settings.get("dataset"),
        settings.get("val_split"),
    ):
        return
    if settings.get("validation") is None:  # trained without any
        return
    now, then = groups(samples), settings.get("validation_groups")
    is_same = set(now) <= set(then) if then else identity(samples) == settings.get("validation")
    if not is_same:
        held_out = ", ".join(then) if then else "other cities"
        raise DataError(
            f"{options.root}: '{options.split}' holds {', '.join(now)}, but {held_out} were held out when this network "
            "was trained; a score would be of frames that it has seen: train it again, or score it on another split"
        )
