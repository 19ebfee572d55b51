"""The command `segtrain convert`."""

from dataclasses import MISSING, dataclass
from pathlib import Path

import click

from jobs.console.options import command, configured
from jobs.console.settings import setting, setting_of
from propagate.data.classes import load_classes
from sdcnet.cli.convert import ConvertConfig, require_digest
from segtrain.cli.network import WeightsConfig

NOTABLE = 1.0  # level of 255, by which the border's colour may differ unsaid


@dataclass(frozen=True, kw_only=True)
class CaffeConfig:
    """Which file of Caffe is converted to which, and what it does not say of itself."""

    source: Path = setting(MISSING, "The .caffemodel to read.", argument="FILE")
    destination: Path = setting(MISSING, "The file to write.", argument="OUT")
    classes: str | None = setting_of(WeightsConfig, "classes", otherwise="Cityscapes, where FILE scores 19")
    mean: tuple[float, ...] | None = setting(
        None,
        "The mean of the images in training, levels 0 to 255: BLUE,GREEN,RED.",
        otherwise="as published, by the number of classes",
    )
    sha256: str | None = setting_of(ConvertConfig, "sha256")

    def __post_init__(self) -> None:
        require_digest(self.sha256)
        if self.mean is not None and (len(self.mean) != 3 or not all(0 <= level <= 255 for level in self.mean)):
            raise ValueError(f"--mean has three levels of 0 to 255, found {','.join(map(str, self.mean))}")
        if self.source.exists() and self.destination.exists() and self.source.samefile(self.destination):
            raise ValueError("FILE and OUT are the same file; give OUT another name")


@command()
@configured(config=CaffeConfig)
def convert(config: CaffeConfig) -> None:
    """Write a published network of Caffe, FILE, as a file of weights like those of `segtrain fit`, OUT.

    FILE is FCN-8s, or the PSPNet-101 of NetWarp: the names of its layers say which. It is read without running any
    code in it. What it does otherwise is folded into the weights: images in blue, green, red, less their mean, and the
    order of the pyramid's branches. A module of NetWarp in it goes to a file beside OUT, OUT-netwarp.safetensors.

    \b
    segtrain convert pspnet101_cityscapes.caffemodel pspnet101.safetensors
    segtrain convert fcn8s-heavy-pascal.caffemodel fcn8s.safetensors --classes pascal.yaml
    """
    from segtrain.caffe.convert import convert as convert_file
    from segtrain.caffe.convert import module_path

    table = None if config.classes is None else load_classes(config.classes)
    mean = None if config.mean is None else (config.mean[0], config.mean[1], config.mean[2])
    conversion, classes = convert_file(
        config.source, config.destination, classes=table, mean=mean, sha256=config.sha256
    )
    network = conversion.network
    click.echo(f"{config.destination}: {network.architecture}, {network.num_classes} classes of '{classes.name}'")
    if conversion.drawn is not None:
        click.echo(f"FILE has no auxiliary head; '{conversion.drawn}' has learnt nothing, and only trainings use it")
    if conversion.module:
        click.echo(f"{module_path(config.destination)}: the module of NetWarp, a --scheme for videos on that network")
    if conversion.border > NOTABLE:
        click.echo(
            f"around images it sees a colour up to {conversion.border:.0f} levels from that of its training: scores "
            "near the border differ from the published ones"
        )
