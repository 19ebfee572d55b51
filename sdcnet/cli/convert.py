"""The commands `sdcnet convert` and `sdcnet inspect`."""

import re
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console.options import command, configured, json_option
from jobs.console.settings import setting, setting_of
from jobs.console.values import print_json

if TYPE_CHECKING:
    from sdcnet.networks.checkpoints import Summary

ARCHITECTURES = ("FlowNet2", "SDCNet2D", "SDCNet2DRecon")  # sdcnet.networks.checkpoints has them too, but needs torch


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Which file is converted to which."""

    source: Path = setting(MISSING, "The file to read.", argument="IN")
    destination: Path = setting(MISSING, "The file to write.", argument="OUT")
    architecture: str | None = setting(
        None,
        "Which network IN holds, where it does not say so, or which one is wanted, where it holds two.",
        choices=ARCHITECTURES,
        otherwise="as IN says",
    )

    sha256: str | None = setting(
        None,
        "The SHA-256 that the file must have, in hex, as whoever published it says.",
        otherwise="any",
    )

    def __post_init__(self) -> None:
        require_digest(self.sha256)
        if self.source.exists() and self.destination.exists() and self.source.samefile(self.destination):
            raise ValueError("IN and OUT are the same file; give OUT another name")


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Which file is looked into."""

    file: Path = setting(MISSING, "The file to read.", argument="FILE")
    sha256: str | None = setting_of(ConvertConfig, "sha256")

    def __post_init__(self) -> None:
        require_digest(self.sha256)


@command()
@configured(config=ConvertConfig)
def convert(config: ConvertConfig) -> None:
    """Write the network of a published file of weights, IN, as a safetensors file, OUT.

    OUT says what it holds and how frames must be prepared for it. IN is read without running any code in it.

    \b
    sdcnet convert sdc_cityscapes_vrec.pth.tar recon.safetensors
    sdcnet convert FlowNet2_checkpoint.pth.tar flownet2.safetensors
    """
    from sdcnet.networks.checkpoints import convert_checkpoint, inspect_checkpoint

    convert_checkpoint(config.source, config.destination, config.architecture, config.sha256)
    click.echo(f"{config.destination}: {_holds(inspect_checkpoint(config.destination))}", err=True)


@command("inspect")
@configured(config=InspectConfig)
@json_option
def inspect_command(config: InspectConfig, as_json: bool) -> None:
    """Say what a file of weights holds, whoever wrote it.

    \b
    sdcnet inspect recon.safetensors
    sdcnet inspect sdc_cityscapes_vrec.pth.tar --json
    """
    from sdcnet.networks.checkpoints import inspect_checkpoint

    summary = inspect_checkpoint(config.file, config.sha256)
    if as_json:
        print_json(asdict(summary))
        return
    click.echo(f"{config.file}: {_holds(summary)}")
    for part in ("settings", "preprocessing", "about"):
        for name, value in getattr(summary, part).items():
            click.echo(f"  {part:<15}{name}: {value}")


def require_digest(sha256: str | None) -> None:
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, found '{sha256}'")


def _holds(summary: "Summary") -> str:
    networks = " and ".join(summary.networks) or "no network that this program knows"
    return f"{networks}; {summary.num_values:,} values in {summary.num_tensors} tensors of {', '.join(summary.dtypes)}"
