"""A command line from dataclasses: an option for each setting, from the command line, the environment, or a file.

    @command()
    @configured(config=FitConfig)
    @config_file
    def fit(config: FitConfig) -> None: ...

What is typed counts before the environment, that before the file of --config, that before the default.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_origin

import click
from click.core import ParameterSource

from jobs.console.setting_files import read_settings
from jobs.console.settings import Setting, build, require_setting, setting, settings_of
from jobs.console.types import metavar_of, type_of
from jobs.registry import meant

Function = Callable[..., Any]
_FILE, _BELOW = "jobs.console.file", "jobs.console.below"  # what a context keeps: --config, and a recipe's settings


class SettingOption(click.Option):
    """The option of a setting: a value beyond its limits is refused by name, wherever it comes from."""

    def __init__(self, *args: Any, setting: Setting, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.setting = setting

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return os.environ.get(_own_variable(ctx, self)) or super().resolve_envvar_value(ctx)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        value = super().process_value(ctx, value)
        if ctx.get_parameter_source(self.setting.name) is ParameterSource.DEFAULT:
            return value
        if self.setting.kind is int and isinstance(value, str):
            value = int(value)  # one of its choices, which are texts
        try:
            require_setting(self.setting.name, value, self.setting.field.metadata)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, self) from None
        return value


class Command(click.Command):
    """Says of a value that makes no sense also which variable or file it comes from; refuses variables of no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
            _require_variables_of_options(ctx)
            return rest
        except click.BadParameter as error:
            if isinstance(error.param, click.Option) and (origin := _origin(ctx, error.param)):
                error.param_hint = f"'{error.param.opts[0]}' ({origin})"
            raise


def _require_variables_of_options(ctx: click.Context) -> None:
    """Raise a usage error for a variable that is named like those of the command's options, and is of none."""
    prefix = f"{ctx.auto_envvar_prefix}_"
    if ctx.auto_envvar_prefix is None or ctx.resilient_parsing:
        return
    known = {f"{prefix}{option.name.upper()}" for option in ctx.command.params if option.name}
    named = {name for name, value in os.environ.items() if name.startswith(prefix) and value}
    if unknown := sorted(named - known):
        raise click.UsageError(
            f"environment variable {unknown[0]}: no such option; `{ctx.command_path} --help` has them all"
            f"{meant(unknown[0], known)}",
            ctx,
        )


def command(name: str | None = None) -> Callable[[Function], Command]:
    """A click command whose errors say where a value comes from."""
    return click.command(name, cls=Command)


def configured(**configs: type) -> Callable[[Function], Function]:
    """The command with an option, or argument, for each setting of the dataclasses, which it is given by these names.

    What the dataclasses refuse with a ValueError is a usage error.
    """
    settings = [each for config in configs.values() for each in settings_of(config)]

    def decorate(function: Function) -> Function:
        @wraps(function)
        def called(**values: Any) -> Any:
            ctx = click.get_current_context()
            given = dict(ctx.meta.get(_BELOW, {}))
            for each in settings:
                value = values.pop(each.name)
                if ctx.get_parameter_source(each.name) is not ParameterSource.DEFAULT:
                    given[each.name] = value
            return function(**{name: _built(ctx, config, given) for name, config in configs.items()}, **values)

        command: Function = called
        for each in reversed(settings):
            command = parameter(each)(command)
        return command

    return decorate


def parameter(setting: Setting, **changed: Any) -> Callable[[Function], Function]:
    """The decorator that gives a command the option, or the argument, of one setting. changed: see `click.option`."""
    metadata, many = setting.field.metadata, get_origin(setting.kind) is tuple
    if metadata["argument"]:
        return click.argument(
            setting.name,
            metavar=metadata["argument"],
            type=type_of(setting),
            nargs=-1 if many else 1,
            required=setting.required,
        )
    name = setting.name.replace("_", "-")
    shown = [] if setting.required else [f"default: {setting.shown_default}"]
    shown += [setting.shown_limits] if setting.shown_limits else []
    settings: dict[str, Any] = {
        "cls": SettingOption,
        "setting": setting,
        "type": type_of(setting),
        "metavar": None if setting.kind is bool else metavar_of(type_of(setting)),
        "required": setting.required,
        "multiple": many and metadata["repeatable"],
        "help": metadata["help"] + (f"  [{'; '.join(shown)}]" if shown else ""),
        "envvar": metadata["variable"] or None,
    }
    flag = f"--{name}/--no-{name}" if setting.kind is bool else f"--{name}"
    return click.option(flag, setting.name, **{**settings, **changed})


def put_below(ctx: click.Context, settings: Mapping[str, Any]) -> None:
    """Let these settings of a command hold where nothing else is given: they count before the defaults only."""
    ctx.meta[_BELOW] = settings


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """What several commands have, whatever they do."""

    json: bool = setting(False, "Print one JSON object on stdout, nothing else.")
    config: Path | None = setting(
        None, "A YAML file of options by name; those typed, or in the environment, count before."
    )


_JSON, _CONFIG = settings_of(_Shared)


def json_option(function: Function) -> Function:
    """The command with --json, which it is given as `as_json`."""

    @wraps(function)
    def called(*, json: bool | None, **values: Any) -> Any:
        return function(as_json=bool(json), **values)

    return parameter(_JSON)(called)


def config_file(function: Function) -> Function:
    """The command with --config."""
    return parameter(_CONFIG, is_eager=True, expose_value=False, callback=_take_file)(function)


def _take_file(ctx: click.Context, option: click.Parameter, path: Path | None) -> None:
    """Let the settings of the file be what options are that are neither typed nor in the environment."""
    if path is None or ctx.resilient_parsing:
        return
    options = {each.name: each.setting for each in ctx.command.params if isinstance(each, SettingOption)}
    known = {name: setting for name, setting in options.items() if name is not None and name != option.name}
    example = next(f"{name}: {setting.shown_default}" for name, setting in known.items() if not setting.required)
    try:
        settings = read_settings(path, known, kind="config", example=example, help=f"{ctx.command_path} --help")
    except OSError as error:
        raise click.UsageError(f"{path}: cannot be read ({error.strerror}); name a YAML file", ctx) from None
    except ValueError as error:
        raise click.UsageError(f"{path}: {error}", ctx) from None
    ctx.meta[_FILE] = path
    # to click before 8.3, None would be no value at all
    ctx.default_map = {name: "none" if value is None else value for name, value in settings.items()}


def _built(ctx: click.Context, config: type, given: Mapping[str, Any]) -> Any:
    try:
        return build(config, given)
    except ValueError as error:
        origins = [_origin(ctx, each) for each in ctx.command.params if isinstance(each, SettingOption)]
        elsewhere = ", ".join(filter(None, dict.fromkeys(origins)))
        raise click.UsageError(str(error) + (f" (with {elsewhere})" if elsewhere else ""), ctx) from None


def _own_variable(ctx: click.Context, option: click.Option) -> str:
    """The environment variable that stands for an option of this command alone."""
    return f"{ctx.auto_envvar_prefix}_{(option.name or '').upper()}"


def _origin(ctx: click.Context, option: click.Option) -> str:
    """The variable, or the file, that an option's value comes from; empty where it is typed, or the default."""
    name = option.name or ""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        own = _own_variable(ctx, option)
        return f"environment variable {own if os.environ.get(own) else option.envvar}"
    return str(ctx.meta[_FILE]) if source is ParameterSource.DEFAULT_MAP else ""
