"""Pages from templates: escaped, whole, and closed to scripts and to the network."""

import math
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from jobs.console.tables import Table
from jobs.pages.templates import render

PAGE = """\
{% extends "frame.html.j2" %}
{% import "parts.html.j2" as parts %}
{% block title %}{{ name }}{% endblock %}
{% block header %}<h1>{{ name }}</h1>{% endblock %}
{% block main %}
{{ parts.table(table) }}{{ parts.facts([(name, 1, name)]) }}{{ parts.legend([(name, "#123456"), (name, none)]) }}
{{ parts.picture("data:,", 1, 2, name, name) }}
{{ parts.bar(0.25, [0.5, nan]) }}{{ nan | percent }} {{ 0.25 | percent }}
{% endblock %}
"""
NAME = "<b>\"bonn\"</b> & 'x'"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A package with a template of its own; of a name of its own, since templates are kept."""
    name = f"pages_of_{abs(hash(request.node.name))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "page.html.j2").write_text(PAGE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_whatever_a_page_shows_is_escaped(package: str) -> None:
    table = Table((NAME, "b"), [(NAME, NAME)])
    page = render(package, "page.html.j2", name=NAME, table=table, nan=math.nan)
    assert page.count("&lt;b&gt;") == 2 + 3 + 2 + 2 + 2
    assert "<b>" not in page
    assert '"bonn"' not in page


def test_a_page_is_closed_to_scripts_and_to_the_network(package: str) -> None:
    page = render(package, "page.html.j2", name="a", table=Table((), []), nan=math.nan)
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert "Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in page
    assert "<title>a</title>\n<style>\n:root { color-scheme: light dark;" in page
    assert page.endswith("</main>\n</body>\n</html>\n")


def test_what_has_no_value_has_no_length_and_no_colour(package: str) -> None:
    page = render(package, "page.html.j2", name="a", table=Table((), []), nan=math.nan)
    assert '<span style="width:25.0%"></span><i style="left:50.0%"></i><i style="left:0.0%"></i></div>– 25.00' in page
    assert page.count('<span class="swatch" style="background:#123456"></span>') == page.count("swatch") - 1 == 1


def test_a_value_that_nobody_gives_is_an_error(package: str) -> None:
    with pytest.raises(UndefinedError, match="'table' is undefined"):
        render(package, "page.html.j2", name="a", nan=math.nan)
