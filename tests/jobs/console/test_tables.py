"""Tables for people, and numbers as people and programs read them."""

import json
import math

import pytest

from jobs.console.tables import Table
from jobs.console.values import finite, percent

TABLE = Table(("a", "number"), [("long name", "7"), ("b", "1,234,567"), ("all",)])


def test_the_same_rows_for_a_terminal_and_as_markdown() -> None:
    assert TABLE.text().splitlines() == [
        "a             number",
        "long name          7",
        "b          1,234,567",
        "all",
    ]
    assert TABLE.markdown().splitlines()[:4] == [
        "| a         |    number |",
        "| --------- | --------: |",
        "| long name |         7 |",
        "| b         | 1,234,567 |",
    ]


def test_a_table_without_rows_is_its_heads() -> None:
    assert Table(("a", "b"), []).text() == "a  b"
    assert Table(("a", "b"), []).markdown() == "| a   |   b |\n| --- | --: |"


def test_a_row_with_more_cells_than_heads_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="a row of 3 cells under 2 heads"):
        Table(("a", "b"), [("1", "2", "3")])


def test_a_fraction_in_percent() -> None:
    assert [percent(0.12345, decimals) for decimals in (0, 1, 2)] == ["12", "12.3", "12.35"]
    assert (percent(math.nan, 1), percent(math.nan, 1, none="–")) == ("-", "–")


def test_what_json_cannot_say_is_null() -> None:
    values = {"a": [1.5, math.nan, (math.inf, -math.inf)], "b": {"c": "nan", "d": None, "e": True}}
    assert finite(values) == {"a": [1.5, None, [None, None]], "b": {"c": "nan", "d": None, "e": True}}
    json.dumps(finite(values), allow_nan=False)
