"""What a command says where it is interrupted: its own sentence, also where what it waited for fails by that."""

import click
import pytest
from click.testing import CliRunner

from jobs.console.exit_codes import Commands, interrupted


@click.group(cls=Commands, variables="TEST", failures=())
def main() -> None: ...


@main.command()
@click.argument("how")
def wait(how: str) -> None:
    with interrupted("It goes on."):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if how == "failing":
                raise RuntimeError("a process has ended")  # noqa: B904 - as a library would
            raise


@pytest.mark.parametrize("how", ["itself", "failing"])
def test_an_interrupted_command_says_its_sentence(how: str) -> None:
    result = CliRunner().invoke(main, ["wait", how])
    assert (result.exit_code, result.stderr) == (130, "It goes on.\n")


def test_a_failure_that_no_interrupt_led_to_stays_one() -> None:
    with pytest.raises(RuntimeError, match="by itself"), interrupted("It goes on."):
        raise RuntimeError("by itself")
