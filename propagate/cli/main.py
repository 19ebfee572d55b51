"""The command `propagate`: parse -> configuration -> one library call -> print.

A command imports what it needs when it is called: `info` must not wait for torch.

Exit codes: 0 all is well; 1 work failed, or is finished with failures; 2 the command line makes no sense; 129, 130,
143: SIGHUP, Ctrl-C, SIGTERM.
"""

import click

from jobs.console.exit_codes import Commands
from jobs.errors import JobError
from propagate import __version__
from propagate.cli.evaluate import evaluate
from propagate.cli.export import export
from propagate.cli.fit_corrector import fit_corrector
from propagate.cli.importing import import_command
from propagate.cli.info import info
from propagate.cli.report import report
from propagate.cli.review import review
from propagate.cli.run import run_command
from propagate.cli.show import show
from propagate.cli.status import status
from propagate.cli.synth import synth
from propagate.cli.verify import verify
from propagate.errors import PropagateError
from sdcnet.errors import SdcnetError


@click.group(
    cls=Commands,
    variables="PROPAGATE",
    failures=(PropagateError, SdcnetError, JobError),
    interrupted="Interrupted; what is finished is kept.",
)
@click.version_option(__version__, prog_name="propagate", allow_from_autoenv=False)
def main() -> None:
    """Carry the labels of annotated video frames to their neighbours.

    \b
    propagate synth street
    propagate run --root street --out shards --frames 5
    propagate evaluate shards --root street --truth street/truth
    """


for command in (
    synth,
    import_command,
    fit_corrector,
    run_command,
    status,
    info,
    verify,
    evaluate,
    report,
    review,
    show,
    export,
):
    main.add_command(command)
