"""What the commands that use a network have in common: which network, on what, and how."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from jobs.console.settings import setting, setting_of
from jobs.training.devices import RuntimeSettings
from propagate.data.classes import ClassTable, load_classes
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import DatasetChoice
from segtrain.inference_settings import Inference
from segtrain.models.registry import NETWORKS


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network and how it is used, and the data set on which it may be."""

    weights: Path = setting(MISSING, "A file of `segtrain fit`, or a published one.", argument="WEIGHTS")
    root: Path | None
    dataset: str = setting_of(DatasetChoice, "dataset")
    split: str = setting_of(DatasetOptions, "split", default="val")
    layout: Path | None = setting_of(DatasetOptions, "layout")
    classes: str | None = setting(
        None,
        "A class table's name or YAML file.",
        otherwise="the data set's own, or that of the classes WEIGHTS names",
    )
    architecture: str | None = setting(
        None, "Which network a published file holds.", choices=NETWORKS, otherwise="as the file says, if it is ours"
    )
    inference: Inference
    device: str = setting_of(RuntimeSettings, "device")
    dtype: str = setting_of(RuntimeSettings, "dtype")

    def class_table(self) -> ClassTable | None:
        """The class table that was asked for, if any. Raises: DatasetError."""
        return None if self.classes is None else load_classes(self.classes)
