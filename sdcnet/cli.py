"""The command `sdcnet`: parse -> configuration -> one library call -> print.

A command imports what it needs when it is called: `--help` must not wait for torch.

Exit codes: 0 all is well; 1 work failed; 2 the command line makes no sense; 130 Ctrl-C.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.errors import JobError
from sdcnet.errors import SdcnetError

if TYPE_CHECKING:
    from sdcnet.checkpoints import Summary

PATH = click.Path(path_type=Path)
ARCHITECTURES = ("FlowNet2", "SDCNet2D", "SDCNet2DRecon")  # sdcnet.checkpoints has them too, but needs torch


class _Commands(click.Group):
    """Says the package's own errors without a traceback, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SdcnetError, JobError) as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise SystemExit(130) from None


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="label-propagation", prog_name="sdcnet")
def main() -> None:
    """Estimate, score and learn how video frames move.

    \b
    sdcnet convert sdc_cityscapes_vrec.pth.tar recon.safetensors
    sdcnet inspect recon.safetensors
    """


@main.command()
@click.argument("source", metavar="IN", type=PATH)
@click.argument("destination", metavar="OUT", type=PATH)
@click.option(
    "--architecture",
    type=click.Choice(ARCHITECTURES),
    help="Which network IN holds, where it does not say so, or which one is wanted, where it holds two.",
)
def convert(source: Path, destination: Path, architecture: str | None) -> None:
    """Write the network of a published file of weights, IN, as a safetensors file, OUT.

    OUT says what it holds and how frames must be prepared for it. IN is read without running any code in it.

    \b
    sdcnet convert sdc_cityscapes_vrec.pth.tar recon.safetensors
    sdcnet convert FlowNet2_checkpoint.pth.tar flownet2.safetensors
    """
    from sdcnet.checkpoints import convert_checkpoint, inspect_checkpoint

    convert_checkpoint(source, destination, architecture)
    click.echo(f"{destination}: {_holds(inspect_checkpoint(destination))}", err=True)


@main.command("inspect")
@click.argument("file", type=PATH)
@_json_option
def inspect_command(file: Path, as_json: bool) -> None:
    """Say what a file of weights holds, whoever wrote it.

    \b
    sdcnet inspect recon.safetensors
    sdcnet inspect sdc_cityscapes_vrec.pth.tar --json
    """
    from sdcnet.checkpoints import inspect_checkpoint

    summary = inspect_checkpoint(file)
    if as_json:
        click.echo(json.dumps(asdict(summary), ensure_ascii=False))
        return
    click.echo(f"{file}: {_holds(summary)}")
    for part in ("settings", "preprocessing", "about"):
        for name, value in getattr(summary, part).items():
            click.echo(f"  {part:<15}{name}: {value}")


def _holds(summary: "Summary") -> str:
    networks = " and ".join(summary.networks) or "no network that this program knows"
    return f"{networks}; {summary.num_values:,} values in {summary.num_tensors} tensors of {', '.join(summary.dtypes)}"
