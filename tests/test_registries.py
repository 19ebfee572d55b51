"""Every registry of the four packages, wherever it lies: what it names is there, and what it does not name is said."""

import pkgutil
from importlib import import_module
from typing import Any

import pytest

import jobs
import propagate
import sdcnet
import segtrain
from jobs.errors import UnknownNameError
from jobs.registry import Registry


def find_registries() -> list[Registry[Any]]:
    found: dict[int, Registry[Any]] = {}
    for package in (jobs, sdcnet, propagate, segtrain):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            things = vars(import_module(module.name)).values()
            found |= {id(thing): thing for thing in things if isinstance(thing, Registry)}
    return list(found.values())


REGISTRIES = find_registries()
ENTRIES = [pytest.param(registry, name, id=f"{registry.kind} {name}") for registry in REGISTRIES for name in registry]


def test_the_registries_that_are_known_are_found() -> None:
    assert {"motion estimator", "data set layout", "export format", "scheme"} <= {
        registry.kind for registry in REGISTRIES
    }


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_every_entry_can_be_loaded(registry: Registry[Any], name: str) -> None:
    assert not isinstance(registry[name], str | None)


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_an_unknown_name_says_the_nearest_one(registry: Registry[Any], name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry[f"{name}~"]
    known = ", ".join(registry)
    assert str(caught.value) == f"no {registry.kind} '{name}~'; known are {known}; did you mean '{name}'?"
