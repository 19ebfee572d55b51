"""The command `sdcnet`: parse -> configuration -> one library call -> print.

A command imports what it needs when it is called: `--help` must not wait for torch.

Exit codes: 0 all is well; 1 work failed; 2 the command line makes no sense; 129, 130, 143:
SIGHUP, Ctrl-C, SIGTERM.
"""

import click

from jobs.console.exit_codes import Commands
from jobs.errors import JobError
from sdcnet.cli.convert import convert, inspect_command
from sdcnet.cli.evaluate import evaluate
from sdcnet.cli.fit import fit
from sdcnet.errors import SdcnetError


@click.group(cls=Commands, variables="SDCNET", failures=(SdcnetError, JobError))
@click.version_option(package_name="label-propagation", prog_name="sdcnet", allow_from_autoenv=False)
def main() -> None:
    """Estimate, score and learn how video frames move.

    \b
    sdcnet convert sdc_cityscapes_vrec.pth.tar recon.safetensors
    sdcnet inspect recon.safetensors
    sdcnet evaluate street --motion sdcnet --sdcnet-weights recon.safetensors --input-flow dis
    sdcnet fit street/leftImg8bit_sequence --out run
    """


for command in (convert, inspect_command, evaluate, fit):
    main.add_command(command)
