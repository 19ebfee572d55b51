"""Names, and what each of them makes: one table for each kind of thing that a user chooses by name.

An entry may be the thing itself, or where it lies, as "module:name": then the module is imported when the thing is
asked for, so that a command line knows all names without what they need. What comes with the packages stands in the
tables themselves; a program of one's own adds its things to them with `Registry.add`.
"""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Generic, TypeVar, cast

from jobs.errors import UnknownNameError

Thing = TypeVar("Thing")


class Registry(Collection[str], Generic[Thing]):
    """What is known of one kind, by name, in the order in which it is listed.

    kind: what its things are called in messages, such as "loss".
    """

    def __init__(self, kind: str, things: Mapping[str, Thing | str]) -> None:
        self.kind, self._things = kind, dict(things)

    def __getitem__(self, name: str) -> Thing:
        """The thing of that name. Raises: UnknownNameError, a ValueError, which says what there is."""
        self.require(name)
        thing = self._things[name]
        if isinstance(thing, str):
            module, _, attribute = thing.partition(":")
            thing = cast(Thing, getattr(import_module(module), attribute))
            self._things[name] = thing
        return thing

    def add(self, name: str, thing: Thing | str) -> None:
        """Let a name stand for one more thing, in this process: the thing itself, or where it lies, as "module:name".

        Command lines take their choices when they are imported, so add before that. Raises: ValueError where the
        name is taken.
        """
        if name in self._things:
            raise ValueError(f"there is a {self.kind} '{name}' already; choose another name")
        self._things[name] = thing

    def require(self, name: str) -> None:
        """Raise UnknownNameError, which says what there is, where nothing has that name. Imports nothing."""
        if name not in self._things:
            raise UnknownNameError(f"no {self.kind} '{name}'; known are {', '.join(self)}{meant(name, self)}")

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


def meant(name: str, known: Collection[str]) -> str:
    """What a message adds where one of the known names is much like this one: "; did you mean 'x'?"."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
