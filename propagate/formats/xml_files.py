"""XML of any size, an element at a time; document types and entities, which can unfold to any size, are refused."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

_DEEPEST = 32


def elements(data: bytes, root: str) -> Iterator[Element]:
    """Every element below a root of that name once it is whole, the inner before the outer; those right below the root
    are forgotten when the next is asked for. Raises: ValueError.
    """
    around: list[Element] = []
    try:
        for event, element in iterparse(BytesIO(data), events=("start", "end"), forbid_dtd=True):
            if event == "start":
                around.append(element)
                if len(around) > _DEEPEST:
                    raise ValueError(f"elements more than {_DEEPEST} deep; export it again")
                if around[0].tag != root:
                    raise ValueError(f"its root is <{around[0].tag!s:.40}>, expected <{root}>; export it again")
            else:
                around.pop()
                yield element
                if len(around) == 1:
                    around[0].clear()
    except DefusedXmlException as error:
        raise ValueError(f"holds a document type or entities ({type(error).__name__}), which are refused") from None
    except (ParseError, LookupError) as error:
        raise ValueError(f"not whole XML ({error}); export it again") from None


def attribute(element: Element, name: str, place: str) -> str:
    """An attribute's text. Raises: ValueError where there is none."""
    value = element.get(name)
    if not value:
        raise ValueError(f"{place}: {name} is missing; export it again")
    return value


def whole(attributes: Mapping[str, str], name: str, default: str = "") -> int:
    """The whole number that an attribute is. Raises: ValueError."""
    text = attributes.get(name, default)
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r:.60}, expected a whole number; export it again") from None
