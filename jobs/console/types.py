"""What is typed on command lines beside numbers, texts and paths: sizes, ranges, lists and factors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

import click
from click.shell_completion import CompletionItem

from jobs.console.names import Name
from jobs.console.settings import Setting


class Size(click.ParamType):
    """HxW, in pixels, 1 or more each."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
        height, _, width = text.partition("x")
        if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
            self.fail(f"'{text}' is not HxW, as in 256x512", param, ctx)
        return int(height), int(width)


class Range(click.ParamType):
    """LOW,HIGH or one number for both."""

    name = "LOW,HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            low, _, high = str(value).partition(",")
            return float(low), float(high or low)
        except ValueError:
            self.fail(f"'{value}' is no range, as 0.5,2", param, ctx)


class Numbers(click.ParamType):
    """NUMBER,NUMBER…"""

    name = "N,N…"
    kind: type[float] | type[int] = float
    example = "numbers, as 0.5,1,2"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(number) for number in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is no list of {self.example}", param, ctx)


class WholeNumbers(Numbers):
    """NUMBER,NUMBER…, none of them a fraction."""

    kind = int
    example = "whole numbers, as -3,0,3"


class Names(click.ParamType):
    """NAME,NAME…, each once; or `none` for no name."""

    name = "NAME,…|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple) or value == "none":
            return () if value == "none" else value
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",")))
        if "" in names:
            self.fail(f"'{value}' is no list of names, as pole,rider", param, ctx)
        return names


class Factors(click.ParamType):
    """NAME=NUMBER,…; or `none` for no factor."""

    name = "NAME=N,…|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        if isinstance(value, dict) or value == "none":
            return {} if value == "none" else value
        try:
            pairs = [item.partition("=") for item in str(value).split(",") if item]
            return {name.strip(): float(factor) for name, _, factor in pairs}
        except ValueError:
            self.fail(f"'{value}' is no list of factors, as pole=2,rider=1.5", param, ctx)


class OrNone(click.ParamType):
    """What another type takes, or `none`: so that a setting of a file or of the environment can be taken back."""

    def __init__(self, other: click.ParamType) -> None:
        self._other = other
        if isinstance(other, click.Choice):
            self.name = f"[{'|'.join(other.choices)}|none]"
        else:
            self.name = f"{metavar_of(other) or other.name.upper()}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if str(value).lower() == "none" else self._other.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._other.shell_complete(ctx, param, incomplete)


PATH = click.Path(path_type=Path)
_TYPES: Mapping[Any, click.ParamType] = {
    bool: click.BOOL,
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: PATH,
    tuple[Path, ...]: PATH,
    tuple[int, int]: Size(),
    tuple[float, float]: Range(),
    tuple[float, ...]: Numbers(),
    tuple[int, ...]: WholeNumbers(),
    tuple[str, ...]: Names(),
}


def type_of(setting: Setting) -> click.ParamType:
    """How a setting is typed: a name where there are choices, else by its kind; `none` for those that may be None."""
    choices = setting.field.metadata["choices"]
    if choices and get_origin(setting.kind) is not tuple:
        type_: click.ParamType = Name([str(choice) for choice in choices])
    elif setting.field.metadata["repeatable"]:
        type_ = _TYPES[setting.kind.__args__[0]]
    else:
        type_ = text_type(setting.kind)
    return OrNone(type_) if setting.optional else type_


def text_type(kind: Any) -> click.ParamType:
    """How a value of that kind is typed as one text."""
    return Factors() if get_origin(kind) is Mapping else _TYPES[kind]


def metavar_of(kind: click.ParamType) -> str | None:
    """How help shows what is typed, where that is not as click does."""
    return kind.name if isinstance(kind, Size | Range | Numbers | Names | Factors | OrNone) else None
