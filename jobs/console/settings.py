"""Settings: the fields of a dataclass that configures a command, each declared once, with all that is known of it.

`jobs.console.options` makes a command's options from them; neither PyTorch nor click is needed to declare them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from jobs.registry import Registry


def setting(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: Collection[Any] = (),
    otherwise: str = "",
    option: str = "",
    argument: str = "",
    repeatable: bool = False,
    passing: bool = False,
    variable: str = "",
) -> Any:
    """A field that a user can set; MISSING as its default makes it required.

    help: a sentence. least, most: of a number. choices: the values that there are. otherwise: what its default stands
    for, in words, where it is None or empty. option: its long name without the dashes, where that is not the field's;
    argument: how it is shown, where it is no option but an argument. repeatable: an option for each item of a tuple.
    passing: it may change between a training and its resumption. variable: of the environment, for all commands that
    have the setting; a command's own counts before it.
    """
    metadata = {
        "help": help,
        "least": least,
        "most": most,
        "choices": choices,
        "otherwise": otherwise,
        "option": option,
        "argument": argument,
        "repeatable": repeatable,
        "passing": passing,
        "variable": variable,
    }
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def setting_of(owner: type, name: str, *, default: Any = ..., **changed: Any) -> Any:
    """The same setting as another dataclass has, but for what is changed: as arguments of `setting`."""
    (original,) = (each for each in fields(owner) if each.name == name)
    return setting(original.default if default is ... else default, **{**original.metadata, **changed})


class Setting(NamedTuple):
    """A field of a configuration, as command lines, environments and files know it.

    name: that of its option, with `_`. kind: its type, apart from None. optional: whether it may be None.
    """

    name: str
    field: Field[Any]
    kind: Any
    optional: bool

    @property
    def required(self) -> bool:
        return self.field.default is MISSING and self.field.default_factory is MISSING

    @property
    def default(self) -> Any:
        return self.field.default if self.field.default_factory is MISSING else self.field.default_factory()

    @property
    def shown_default(self) -> str:
        """The default as a user reads it."""
        default = self.default
        if self.field.metadata["otherwise"]:
            return str(self.field.metadata["otherwise"])
        if isinstance(default, bool):
            return "yes" if default else "no"
        if isinstance(default, tuple | dict):
            return ("x" if self.kind == tuple[int, int] else ",").join(_shown(item) for item in default) or "none"
        return "none" if default is None else str(default)

    @property
    def shown_limits(self) -> str:
        """The limits of a number as a user reads them; empty where there are none."""
        least, most = self.field.metadata["least"], self.field.metadata["most"]
        if least is None:
            return "" if most is None else f"{most} or less"
        return f"{least} or more" if most is None else f"{least} to {most}"


def _shown(item: Any) -> str:
    return f"{item:g}" if isinstance(item, float) else str(item)


def settings_of(config: type) -> Iterator[Setting]:
    """The settings of a dataclass, in its order, and of those dataclasses that are its fields, each in its place."""
    hints = get_type_hints(config)
    for each in fields(config):
        kind, optional = _without_none(hints[each.name])
        if is_dataclass(kind):
            yield from settings_of(kind)  # type: ignore[arg-type]
        elif "help" in each.metadata:
            yield Setting(each.metadata["option"].replace("-", "_") or each.name, each, kind, optional)


def build(config: type, given: Mapping[str, Any]) -> Any:
    """The dataclass with the settings that are given, by the names of their options; the others have their defaults.

    Raises: ValueError, and whatever else the dataclasses raise for settings that make no sense.
    """
    hints = get_type_hints(config)
    values = {each.field.name: given[each.name] for each in _own_settings(config) if each.name in given}
    parts = {each.name: hints[each.name] for each in fields(config) if is_dataclass(hints[each.name])}
    return config(**values, **{name: build(part, given) for name, part in parts.items()})


def _own_settings(config: type) -> list[Setting]:
    own = {id(each) for each in fields(config)}
    return [each for each in settings_of(config) if id(each.field) in own]


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) is not UnionType:
        return hint, False
    (kind,) = (part for part in get_args(hint) if part is not NoneType)
    return kind, True


def require_settings(config: Any) -> None:
    """Raise ValueError unless each setting of a dataclass is one of its choices, and within its limits."""
    for each in fields(config):
        if "help" in each.metadata:
            require_setting(each.name, getattr(config, each.name), each.metadata)


def require_setting(name: str, value: Any, limits: Mapping[str, Any]) -> None:
    """Raise ValueError unless the value is one of the choices, and within the limits, that a field's metadata hold."""
    least, most, choices = limits["least"], limits["most"], limits["choices"]
    if value is None:
        return
    if isinstance(value, tuple) and choices:
        if unknown := [item for item in value if item not in choices]:
            raise ValueError(f"'{unknown[0]}' is none of {', '.join(map(str, choices))}")
    elif isinstance(choices, Registry):
        choices.require(value)
    elif choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, found {value!r}")
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        wanted = f"at least {least}" if most is None else f"within {least}…{most}"
        raise ValueError(f"{name} must be {wanted}, found {value}")
