"""What a registry does with a name, known or not, and with one more."""

import pytest

from jobs.errors import UnknownNameError
from jobs.registry import Registry


@pytest.fixture
def shapes() -> Registry[object]:
    return Registry("shape", {"round": object()})


def test_a_thing_that_was_added_is_listed_last_and_found(shapes: Registry[object]) -> None:
    square = object()
    shapes.add("square", square)
    assert list(shapes) == ["round", "square"]
    assert shapes["square"] is square


def test_a_thing_may_be_added_by_where_it_lies_and_is_imported_when_asked_for(shapes: Registry[object]) -> None:
    shapes.add("missing", "a_module_that_is_not_there:Thing")
    assert "missing" in shapes
    with pytest.raises(ModuleNotFoundError):
        shapes["missing"]
    shapes.add("error", "jobs.errors:UnknownNameError")
    assert shapes["error"] is UnknownNameError


def test_a_name_that_is_taken_is_refused_and_keeps_its_thing(shapes: Registry[object]) -> None:
    before = shapes["round"]
    with pytest.raises(ValueError, match="there is a shape 'round' already; choose another name"):
        shapes.add("round", object())
    assert shapes["round"] is before
