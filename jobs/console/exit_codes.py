"""What the command lines of all packages share: how their errors are told, and the exit code that follows."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from jobs.image_limit import max_pixels
from jobs.signals import Interruption, interruption


class Commands(click.Group):
    """Says errors of these types in one sentence, without a traceback, and exits with 1.

    On Ctrl-C, SIGTERM and SIGHUP it unwinds, says one line and exits with 130, 143 and 129. The line is `interrupted`,
    or what a command says by `interrupted`.

    variables: what the names of the environment variables begin with that stand for options not given.
    """

    def __init__(
        self,
        *args: Any,
        variables: str,
        failures: tuple[type[Exception], ...],
        interrupted: str = "Interrupted.",
        **settings: Any,
    ) -> None:
        shared = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": variables}
        super().__init__(*args, context_settings=shared, **settings)
        self._failures, self._interrupted = failures, interrupted

    def invoke(self, ctx: click.Context) -> Any:
        try:
            max_pixels()
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None
        with interruption(always_interrupt=True) as arrived:
            try:
                return super().invoke(ctx)
            except self._failures as error:
                raise click.ClickException(str(error)) from None
            except Exception as error:
                if not isinstance(error.__context__, KeyboardInterrupt):
                    raise
                self._end(arrived, error.__context__)  # such as of processes that the same signal has ended
            except KeyboardInterrupt as interrupt:
                self._end(arrived, interrupt)

    def _end(self, arrived: Interruption, interrupt: KeyboardInterrupt) -> NoReturn:
        with suppress(OSError):  # the terminal may be gone
            click.echo(str(interrupt) or self._interrupted, err=True)
        raise SystemExit(128 + (arrived.signum or signal.SIGINT)) from None


@contextmanager
def interrupted(sentence: str) -> Iterator[None]:
    """What is said where a command is interrupted within this context, or fails since what it waits for is."""
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        interrupt = error if isinstance(error, KeyboardInterrupt) else error.__context__
        if isinstance(interrupt, KeyboardInterrupt):
            interrupt.args = (sentence,)
        raise


def interrupted_training(out: Path) -> AbstractContextManager[None]:
    """The same of one that trains in a run folder."""
    return interrupted(
        f"Interrupted. The same command goes on in {out}, from its last checkpoint, or from the start without one."
    )
