"""Names on command lines: as click shows and takes choices, and what is said of one that there is not."""

from collections.abc import Collection

import click
import pytest
from click.testing import CliRunner, Result

from jobs.console.names import Name
from jobs.registry import Registry

NAMES = ("poly", "scaled-poly", "cosine")
COLLECTIONS = [
    pytest.param(NAMES, id="tuple"),
    pytest.param(list(NAMES), id="list"),
    pytest.param(dict.fromkeys(NAMES, 1).keys(), id="keys"),
    pytest.param(
        Registry[object]("schedule", dict.fromkeys(NAMES, "a.module.that.is.not.there:schedule")), id="registry"
    ),
]


def call(kind: click.ParamType, *args: str) -> Result:
    @click.command()
    @click.option("--schedule", type=kind, default="cosine", show_default=True, help="Which one.")
    @click.option("--again", type=kind, multiple=True)
    @click.argument("last", type=kind, required=False)
    def show(schedule: str, again: tuple[str, ...], last: str | None) -> None:
        click.echo(f"{schedule} {list(again)} {last}")

    return CliRunner().invoke(show, list(args))


@pytest.mark.parametrize("names", COLLECTIONS)
def test_any_collection_of_names_is_shown_and_taken_as_choices_are(names: Collection[str]) -> None:
    for args in (["--help"], [], ["--schedule", "poly", "--again", "scaled-poly", "cosine"], ["--schedule"]):
        ours, clicks = call(Name(names), *args), call(click.Choice(NAMES), *args)
        assert (ours.exit_code, ours.output) == (clicks.exit_code, clicks.output)
    assert "--schedule [poly|scaled-poly|cosine]" in call(Name(names), "--help").output
    assert call(Name(names), "--schedule", "poly").output == "poly [] None\n"


@pytest.mark.parametrize("names", COLLECTIONS)
def test_an_unknown_name_says_the_nearest_one(names: Collection[str]) -> None:
    result = call(Name(names), "--schedule", "cosin")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "Error: Invalid value for '--schedule': 'cosin' is not one of 'poly', 'scaled-poly', 'cosine'; did you mean "
        "'cosine'?\n"
    )


def test_a_name_like_no_other_has_the_error_of_click() -> None:
    ours, clicks = (call(kind, "--schedule", "x") for kind in (Name(NAMES), click.Choice(NAMES)))
    assert ours.exit_code == 2
    assert ours.stderr == clicks.stderr
    assert ours.stderr.endswith("'x' is not one of 'poly', 'scaled-poly', 'cosine'.\n")
