"""What the commands that use a network have in common: which network, on what, and how; and what they leave out."""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console.settings import setting, setting_of
from jobs.training.devices import RuntimeSettings
from propagate.data.classes import ClassTable, load_classes
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import DatasetChoice
from segtrain.models.registry import NETWORKS

if TYPE_CHECKING:
    from segtrain.evaluation.report import LeftOut

NUM_NAMED = 4  # images that were left out, and are named


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """A network, what its scores mean, and where it computes."""

    weights: Path = setting(MISSING, "A file of `segtrain fit`, or a published one.", argument="WEIGHTS")
    classes: str | None = setting(
        None,
        "A class table's name or YAML file.",
        otherwise="the data set's own, or that of the classes WEIGHTS names",
    )
    architecture: str | None = setting(
        None, "Which network a published file holds.", choices=NETWORKS, otherwise="as the file says, if it is ours"
    )
    device: str = setting_of(RuntimeSettings, "device")
    dtype: str = setting_of(RuntimeSettings, "dtype")

    def class_table(self) -> ClassTable | None:
        """The class table that was asked for, if any. Raises: DatasetError."""
        return None if self.classes is None else load_classes(self.classes)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(WeightsConfig):
    """A network, and the data set on which it is used."""

    root: Path = setting_of(DatasetOptions, "root")
    dataset: str | None = setting_of(DatasetChoice, "dataset")
    split: str = setting_of(DatasetOptions, "split", default="val")
    layout: Path | None = setting_of(DatasetOptions, "layout")

    @property
    def data(self) -> DatasetOptions:
        """Where the data set lies, and how it is read."""
        return DatasetOptions(root=self.root, split=self.split, layout=self.layout)


def say_left_out(failures: Sequence["LeftOut"], what: str = "images") -> None:
    """Say on stderr, in one line, how many images were left out, which came first, and why the first was.

    what: they are, if no images.
    """
    first, *others = failures
    if others:
        more = f" and {len(failures) - NUM_NAMED} more" if len(failures) > NUM_NAMED else ""
        named = ", ".join(failure.image for failure in failures[:NUM_NAMED])
        click.echo(f"left out: {len(failures)} {what} ({named}{more}); the first: {first.reason}", err=True)
    else:
        click.echo(f"left out: {first.reason}", err=True)
