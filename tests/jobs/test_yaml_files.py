"""YAML as plain values, and one sentence for whatever is none."""

import pytest
from helpers.mutations import LAUGHS

from jobs.yaml_files import parse_yaml


def test_plain_values_and_aliases_are_read() -> None:
    assert parse_yaml(b"a: &x [1, 2]\nb: {c: *x, d: 1.5}\n") == {"a": [1, 2], "b": {"c": [1, 2], "d": 1.5}}
    assert parse_yaml("ü: 日本".encode()) == {"ü": "日本"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"a: [", "not a YAML file: while parsing a flow node"),
        (b"\xff\xfe\xff", "not a YAML file: "),
        (b"a: 2001-13-45", "not a YAML file: month must be in 1..12"),
        (b"a: " + b"9" * 5000, "not a YAML file: Exceeds the limit"),
        (b"a: !!python/object/apply:os.getcwd []", "not a YAML file: could not determine a constructor"),
        (b"[" * 3000, "not a YAML file: nested too deeply"),
        (LAUGHS, "its aliases unfold to more than 1000000 values; write out what is meant"),
        (b"&a [*a]", "its aliases unfold to more than 1000000 values"),
    ],
)
def test_what_is_none_is_said_in_a_sentence(text: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
