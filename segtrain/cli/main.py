"""The command `segtrain`: parse -> configuration -> one library call -> print.

A command imports what it needs when it is called: `--help` must not wait for torch.

Exit codes: 0 all is well; 1 work failed; 2 the command line makes no sense; 129, 130, 143:
SIGHUP, Ctrl-C, SIGTERM.
"""

import os

import click

from jobs.console.exit_codes import Commands
from jobs.errors import JobError
from propagate.errors import PropagateError
from sdcnet.errors import SdcnetError
from segtrain.cli.convert import convert
from segtrain.cli.evaluate import evaluate
from segtrain.cli.fit import fit
from segtrain.cli.index import index
from segtrain.cli.predict import predict
from segtrain.cli.pseudo import pseudo
from segtrain.cli.refine import refine
from segtrain.cli.report import report
from segtrain.cli.video import video
from segtrain.errors import SegtrainError


@click.group(
    cls=Commands,
    variables="SEGTRAIN",
    failures=(SegtrainError, SdcnetError, PropagateError, JobError),
)
@click.version_option(package_name="label-propagation", prog_name="segtrain", allow_from_autoenv=False)
def main() -> None:
    """Train segmentation networks on propagated labels, and score and use them.

    \b
    segtrain fit --recipe tiny --shards shards --root street --out run
    segtrain evaluate run/best.safetensors --root street --split val
    segtrain predict run/best.safetensors drive.mp4 --out drive
    segtrain report run
    """
    # Read when torch is imported: threads that wait must not take the cores from what works beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


for command in (fit, evaluate, predict, pseudo, refine, video, index, report, convert):
    main.add_command(command)
