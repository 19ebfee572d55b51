"""The data set layouts that there are, by the names that command lines know: one file each, one line each below."""

from collections.abc import Callable
from dataclasses import dataclass

from jobs.console.settings import setting
from jobs.errors import UnknownNameError
from jobs.registry import Registry
from propagate.datasets.base import Dataset, DatasetOptions
from propagate.datasets.tree import require_folder
from propagate.errors import DatasetError

DATASETS: Registry[Callable[[DatasetOptions], Dataset]] = Registry(
    "data set layout",
    {
        "cityscapes": "propagate.datasets.cityscapes:Cityscapes",
        "cityscapes-coarse": "propagate.datasets.cityscapes:CityscapesCoarse",
        "camvid": "propagate.datasets.camvid:CamVid",
        "kitti": "propagate.datasets.kitti:Kitti",
        "mapillary": "propagate.datasets.mapillary:Mapillary",
        "folder": "propagate.datasets.folder:Folder",
        "video": "propagate.datasets.video:Video",
    },
)


_OURS = tuple(DATASETS)  # others are named, since making them may take more than a look


@dataclass(frozen=True, kw_only=True)
class DatasetChoice:
    """Which layout of DATASETS, and the data set that is of it."""

    options: DatasetOptions
    dataset: str | None = setting(
        None, "The layout of the data set.", choices=DATASETS, otherwise="what the root holds"
    )


def found_dataset(options: DatasetOptions, *, likely: str | None = None) -> str:
    """The name of the layout that the root has, of ours.

    likely: the one that it is, unless it is one of ours and does not fit. Raises: DatasetError where none fits, or two
    do.
    """
    root = options.root
    names = ", ".join(DATASETS)
    require_folder(root)
    fitting = [name for name in _OURS if DATASETS[name].fits(options)]  # type: ignore[attr-defined]
    if likely is not None and (likely in fitting or likely not in _OURS):
        return likely
    if not fitting:
        raise DatasetError(
            f"{root.absolute()}: no data set of a known layout; name its root with --root or PROPAGATE_ROOT, and its "
            f"layout with --dataset: {names}"
        )
    if len(fitting) > 1:
        raise DatasetError(f"{root.absolute()}: looks like {' and like '.join(fitting)}; say which with --dataset")
    return fitting[0]


def open_dataset(name: str, options: DatasetOptions) -> Dataset:
    """The data set of that layout. Raises: DatasetError."""
    try:
        layout = DATASETS[name]
    except UnknownNameError as error:
        raise DatasetError(str(error)) from None
    return layout(options)
