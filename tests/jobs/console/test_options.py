"""Command lines from dataclasses: what is typed, what the environment and a file say, and what each refuses."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from jobs.console.exit_codes import Commands
from jobs.console.options import command, config_file, configured, json_option
from jobs.console.settings import require_settings, setting, setting_of, settings_of


@dataclass(frozen=True, kw_only=True)
class Oven:
    heat: int = setting(180, "In degrees.", least=50, most=300)
    mode: str = setting("fan", "How it heats.", choices=("fan", "grill"), option="oven-mode")


@dataclass(frozen=True, kw_only=True)
class Cake:
    """A configuration with every kind of setting, and another within."""

    name: str = setting(MISSING, "Of the cake.", argument="NAME")
    eggs: int | None = setting(3, "How many.", least=0, otherwise="three")
    oven: Oven
    tin: tuple[int, int] = setting((20, 30), "Height x width.")
    layers: tuple[float, ...] = setting((1.0, 0.5), "Their heights.")
    slices: tuple[int, ...] = setting((8, 12), "How many of each layer.")
    toppings: tuple[str, ...] = setting((), "What is on it.", choices=("sugar", "cream"))
    notes: tuple[str, ...] = setting((), "Anything; repeatable.", option="note", repeatable=True)
    shares: Mapping[str, float] = setting({}, "Of flours.")
    book: Path | None = setting(None, "Where the recipe is.")
    glaze: bool = setting(True, "With a glaze.")
    unknown_to_users: int = 7

    def __post_init__(self) -> None:
        if self.eggs == 13:
            raise ValueError("13 eggs bring bad luck")


def bake(*args: str, variables: Mapping[str, str] | None = None) -> tuple[Result, list[Cake]]:
    seen = []

    @command()
    @configured(cake=Cake)
    @config_file
    @json_option
    def cake(cake: Cake, as_json: bool) -> None:
        seen.append(cake)
        click.echo(as_json)

    group = Commands(name="bake", commands={"cake": cake}, variables="BAKE", failures=())
    environment = {f"BAKE_CAKE_{name}": value for name, value in (variables or {}).items()}
    return CliRunner(env=environment).invoke(group, ["cake", *args]), seen


def test_what_is_not_given_has_the_defaults_of_the_dataclass() -> None:
    result, [cake] = bake("plain")
    assert (cake, result.stdout) == (Cake(name="plain", oven=Oven()), "False\n")


def test_every_kind_of_setting_can_be_typed() -> None:
    typed = "rich --eggs none --heat 200 --oven-mode grill --tin 5x6 --layers 1,2 --slices 6,4 --toppings cream"
    typed += " --note a --note b"
    result, [cake] = bake(*typed.split(), *["--shares", "rye=2,oat=1", "--book", "b.txt", "--no-glaze", "--json"])
    assert result.stdout == "True\n"
    assert cake == Cake(
        name="rich",
        eggs=None,
        oven=Oven(heat=200, mode="grill"),
        tin=(5, 6),
        layers=(1.0, 2.0),
        slices=(6, 4),
        toppings=("cream",),
        notes=("a", "b"),
        shares={"rye": 2.0, "oat": 1.0},
        book=Path("b.txt"),
        glaze=False,
    )


def test_a_variable_of_no_option_is_refused_and_the_nearest_said(monkeypatch: pytest.MonkeyPatch) -> None:
    result, seen = bake("plain", variables={"GLASE": "no"})
    assert (result.exit_code, seen) == (2, [])
    assert result.stderr.endswith(
        "environment variable BAKE_CAKE_GLASE: no such option; `bake cake --help` has them all; did you mean "
        "'BAKE_CAKE_GLAZE'?\n"
    )
    assert bake("--help", variables={"GLASE": "no"})[0].exit_code == 0
    assert bake("plain", variables={"GLASE": ""})[0].exit_code == 0  # as an empty one of an option, none
    for other in ("BAKE_TEST_DATA", "BAKE_BREAD_GLASE", "BAKE_CAKES", "BAKED_CAKE_GLASE"):
        monkeypatch.setenv(other, "no")
    assert bake("plain")[0].exit_code == 0


def test_what_is_typed_counts_before_the_environment_before_the_file_before_the_default(tmp_path: Path) -> None:
    (tmp_path / "cake.yaml").write_text("{eggs: 4, heat: 210, oven-mode: grill, tin: [7, 8], glaze: false}")
    file, variables = ("--config", str(tmp_path / "cake.yaml")), {"EGGS": "5", "HEAT": "220", "GLAZE": "yes"}
    _, [cake] = bake("plain", *file, "--eggs", "6", variables=variables)
    assert cake == Cake(name="plain", eggs=6, oven=Oven(heat=220, mode="grill"), tin=(7, 8), glaze=True)


def test_the_file_may_be_named_by_the_environment_and_hold_what_a_command_line_does(tmp_path: Path) -> None:
    path = tmp_path / "cake.yaml"
    path.write_text(
        "{eggs: null, tin: 7x8, layers: [1, 1e-1], slices: [6, 4], note: [a], shares: {rye: 2}, toppings: sugar}"
    )
    _, [cake] = bake("plain", variables={"CONFIG": str(path)})
    lists = {
        "tin": (7, 8),
        "layers": (1.0, 0.1),
        "slices": (6, 4),
        "notes": ("a",),
        "toppings": ("sugar",),
        "shares": {"rye": 2.0},
    }
    assert cake == Cake(name="plain", eggs=None, oven=Oven(), **lists)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("egg: 3", "no settings egg; `bake cake --help` has them all; did you mean 'eggs'?"),
        ("mode: fan", "no settings mode; `bake cake --help` has them all; did you mean 'oven_mode'?"),
        ("name: plain", "no settings name; `bake cake --help` has them all"),
        ("config: other.yaml", "no settings config; `bake cake --help` has them all"),
        ("eggs: many", "eggs: expected a whole number, found 'many'"),
        ("tin: 7", "tin: expected height and width, as 256x512, found 7"),
        ("tin: 7x", "tin: expected height and width, as 256x512, found '7x'"),
        ("slices: 3", "slices: expected a list of whole numbers, as [1, 2], found 3"),
        ("slices: [3, a]", "slices: expected a whole number, found 'a'"),
        ("shares: 3", "shares: expected names with numbers, as {pole: 2}, found 3"),
        ("[eggs]", "a config is a list of settings, as `eggs: three`, found a list"),
        ("eggs: [", "not a YAML file: while parsing"),
    ],
)
def test_a_file_that_makes_no_sense_is_a_usage_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cake.yaml").write_text(text)
    result, cakes = bake("plain", "--config", str(tmp_path / "cake.yaml"))
    assert (result.exit_code, cakes) == (2, [])
    assert f"Error: {tmp_path / 'cake.yaml'}: {message}" in result.stderr


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    result, _ = bake("plain", "--config", str(tmp_path / "absent.yaml"))
    assert (result.exit_code, "absent.yaml: cannot be read (No such file" in result.stderr) == (2, True)


def test_a_value_beyond_its_limits_is_refused_wherever_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "cake.yaml"
    path.write_text("heat: 20")
    reason = "heat must be within 50…300, found 20"
    for arguments, variables, origin in (
        (["--heat", "20"], {}, ""),
        ([], {"HEAT": "20"}, " (environment variable BAKE_CAKE_HEAT)"),
        (["--config", str(path)], {}, f" ({path})"),
    ):
        result, _ = bake("plain", *arguments, variables=variables)
        assert result.exit_code == 2
        assert result.stderr.endswith(f"Error: Invalid value for '--heat'{origin}: {reason}\n")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HEAT", "hot", "'--heat' (environment variable BAKE_CAKE_HEAT): 'hot' is not a valid integer"),
        ("OVEN_MODE", "gril", "(environment variable BAKE_CAKE_OVEN_MODE): 'gril' is not one of"),
        ("GLAZE", "perhaps", "(environment variable BAKE_CAKE_GLAZE): 'perhaps' is not a valid boolean"),
        ("JSON", "perhaps", "(environment variable BAKE_CAKE_JSON): 'perhaps' is not a valid boolean"),
        ("TOPPINGS", "salt", "(environment variable BAKE_CAKE_TOPPINGS): 'salt' is none of sugar, cream"),
        ("EGGS", "13", "13 eggs bring bad luck (with environment variable BAKE_CAKE_EGGS)"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(name: str, value: str, message: str) -> None:
    result, cakes = bake("plain", variables={name: value})
    assert (result.exit_code, cakes) == (2, [])
    assert message in result.stderr


def test_help_says_the_default_and_the_limits_and_what_none_stands_for() -> None:
    help = " ".join(bake("--help")[0].stdout.split())
    assert "bake cake [OPTIONS] NAME" in help
    assert "--heat INTEGER In degrees. [default: 180; 50 to 300]" in help
    assert "--eggs INTEGER|none How many. [default: three; 0 or more]" in help
    assert "--oven-mode [fan|grill] How it heats. [default: fan]" in help
    assert "--tin HxW Height x width. [default: 20x30]" in help
    assert "--layers N,N… Their heights. [default: 1,0.5]" in help
    assert "--slices N,N… How many of each layer. [default: 8,12]" in help
    assert "--book PATH|none Where the recipe is. [default: none]" in help
    assert "--glaze / --no-glaze With a glaze. [default: yes]" in help
    assert "unknown" not in help


def test_a_size_of_no_pixels_is_refused_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "cake.yaml").write_text("tin: [0, 7]")
    for arguments in (["--tin", "0x7"], ["--config", str(tmp_path / "cake.yaml")]):
        result, _ = bake("plain", *arguments)
        assert (result.exit_code, "'0x7' is not HxW, as in 256x512" in result.stderr) == (2, True)
    result, _ = bake("plain", "--tin", "²x7")
    assert (result.exit_code, "'²x7' is not HxW, as in 256x512" in result.stderr) == (2, True)


def test_a_required_option_is_missed() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Named:
        out: Path = setting(MISSING, "Where to.")

    @command()
    @configured(config=Named)
    def show(config: Named) -> None:
        click.echo(config.out)

    result = CliRunner().invoke(show, [])
    assert (result.exit_code, "Missing option '--out'" in result.stderr) == (2, True)
    assert CliRunner().invoke(show, ["--out", "x"]).stdout == "x\n"


def test_a_setting_of_another_dataclass_is_the_same_but_for_what_is_changed() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Grill:
        heat: int = setting_of(Oven, "heat", default=250, most=400)

    [heat] = settings_of(Grill)
    assert (heat.field.metadata["help"], heat.default, heat.shown_limits) == ("In degrees.", 250, "50 to 400")


def test_a_dataclass_is_held_to_its_limits() -> None:
    require_settings(Oven())
    with pytest.raises(ValueError, match="heat must be within 50…300, found 301"):
        require_settings(Oven(heat=301))
    with pytest.raises(ValueError, match="mode must be one of fan, grill, found 'off'"):
        require_settings(Oven(mode="off"))
