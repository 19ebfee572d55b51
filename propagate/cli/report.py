"""The command `propagate report`."""

from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

import click

from jobs.console.options import command, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting
from jobs.console.values import print_json


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Which store is shown, beside what, and where the page is written."""

    store: Path = setting(MISSING, "The shard store.", argument="STORE")
    out: Path | None = setting(None, "The folder of the page: new, or an earlier report's.", otherwise="STORE-report")
    truth: Path | None = setting(None, "A folder of true label maps, as that of `propagate evaluate --truth`.")
    against: Path | None = setting(None, "Another store of the same data, such as of another motion, to compare with.")
    max_samples: int = setting(2000, "Draw so many samples, the worst first; the others keep their row.", least=0)
    decisions: Path | None = setting(None, "A file of decisions that were taken on this store's samples.")


@command()
@configured(config=ReportConfig)
@json_option
def report(config: ReportConfig, as_json: bool) -> None:
    """Show the samples of STORE on a page: what was propagated, how sure that is, and up to which offset it is safe.

    The page opens from the disk, without a server or a network. Samples can be sorted, filtered and rejected there;
    `propagate export` and `segtrain fit` leave out what was.

    \b
    propagate report shards
    propagate report shards --truth street/truth --max-samples 500
    """
    from propagate.review.report import write_report

    with Progress("samples") as progress:
        summary = write_report(
            config.store,
            config.out,
            truth=config.truth,
            against=config.against,
            max_samples=config.max_samples,
            decisions=config.decisions,
            on_plan=progress.expect,
            on_progress=progress.advance,
        )
    if as_json:
        print_json(asdict(summary))
    else:
        click.echo(summary.verdict)
        click.echo(
            f"{summary.rows} samples, {summary.drawn} drawn, {summary.bytes / 1e6:.1f} MB in {summary.files} files"
        )
        for failure in summary.failures:
            click.echo(f"failed: {failure}", err=True)
        click.echo(summary.address)
    if summary.failures:
        raise SystemExit(1)
