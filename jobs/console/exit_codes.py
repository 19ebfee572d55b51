"""What the command lines of all packages share: how their errors are told, and the exit code that follows."""

from typing import Any

import click

from jobs.image_limit import max_pixels


class Commands(click.Group):
    """Says errors of these types in one sentence, without a traceback, and exits with 1; on Ctrl-C with 130.

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
        try:
            return super().invoke(ctx)
        except self._failures as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            click.echo(self._interrupted, err=True)
            raise SystemExit(130) from None
