"""The command `propagate review`."""

from dataclasses import dataclass
from pathlib import Path

import click

from jobs.console.exit_codes import interrupted
from jobs.console.options import command, configured
from jobs.console.progress import Progress
from jobs.console.settings import setting, setting_of
from jobs.signals import interruption
from propagate.cli.report import ReportConfig


@dataclass(frozen=True, kw_only=True)
class ReviewConfig:
    """Which store is decided on, beside what, and where the page is to be had."""

    store: Path = setting_of(ReportConfig, "store")
    truth: Path | None = setting_of(ReportConfig, "truth")
    against: Path | None = setting_of(ReportConfig, "against")
    port: int | None = setting(None, "Listen on this port.", otherwise="any that is free", least=1, most=65535)


@command()
@configured(config=ReviewConfig)
def review(config: ReviewConfig) -> None:
    """Serve the page of STORE to this machine's browser; what is decided there is saved at once.

    Decisions are in STORE.decisions.json, beside the store, for --decisions of `propagate export` and `segtrain fit`.
    Every sample is drawn when it is looked at. Nobody but this machine can reach it, and nobody without the address
    that is printed. Ctrl-C ends it. It needs Flask: the extra `review`.

    \b
    propagate review shards
    propagate review shards --truth street/truth --port 8000
    """
    from propagate.review.decisions import default_decisions
    from propagate.review.desk import Desk
    from propagate.review.looking import look_at
    from propagate.review.server import ReviewServer, require_flask

    require_flask()
    path = default_decisions(config.store)
    with Progress("samples") as progress:
        contents = look_at(
            config.store,
            truth=config.truth,
            against=config.against,
            decisions=path if path.exists() else None,
            saved_at=path,
            on_plan=progress.expect,
            on_progress=progress.advance,
        )
    server = ReviewServer(Desk(contents, path), config.port)
    ends = f"Ended. Decisions, if any, are in {path}."
    with interrupted(ends), interruption(always_interrupt=True) as arrived:
        click.echo(contents.survey.verdict, err=True)
        click.echo(server.address)
        server.serve()
        arrived.check()
