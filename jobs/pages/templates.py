"""The templates of pages: those of `jobs.pages`, and a package's own beside its modules."""

from functools import cache, partial
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs.console.values import counted, percent
from jobs.pages.style import style_sheet

_PARTS = "jobs.pages"


def render(package: str, template: str, **values: Any) -> Markup:
    """A template of a package, such as `segtrain.page`, filled in; whatever is no Markup is escaped.

    Raises jinja2.UndefinedError for a value that the template names and nobody gives.
    """
    return Markup(_templates(package).get_template(template).render(**values))


@cache
def _templates(package: str) -> Environment:
    templates = Environment(
        loader=ChoiceLoader([PackageLoader(name, "") for name in (package, _PARTS)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["percent"] = partial(percent, decimals=2, none="–")
    templates.filters["counted"] = counted
    templates.globals["style"] = Markup(style_sheet())
    return templates
