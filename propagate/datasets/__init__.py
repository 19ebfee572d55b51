"""Data sets: one file per layout, one line each in the registry below."""

from collections.abc import Callable

from propagate.datasets.base import Dataset, DatasetOptions
from propagate.datasets.camvid import CamVid
from propagate.datasets.cityscapes import Cityscapes, CityscapesCoarse
from propagate.datasets.folder import Folder
from propagate.datasets.kitti import Kitti
from propagate.datasets.mapillary import Mapillary
from propagate.errors import DatasetError

DATASETS: dict[str, Callable[[DatasetOptions], Dataset]] = {
    "cityscapes": Cityscapes,
    "cityscapes-coarse": CityscapesCoarse,
    "camvid": CamVid,
    "kitti": Kitti,
    "mapillary": Mapillary,
    "folder": Folder,
}


def open_dataset(name: str, options: DatasetOptions) -> Dataset:
    """The data set of that layout. Raises DatasetError."""
    if name not in DATASETS:
        raise DatasetError(f"no data set layout '{name}'; known are {', '.join(DATASETS)}")
    return DATASETS[name](options)
