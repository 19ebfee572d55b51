"""What records of settings differ in, as an error says it."""

import re
from collections.abc import Mapping
from typing import Any

_MARK = "SHA-256"
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def told_differences(before: Mapping[str, Any], now: Mapping[str, Any], then: str) -> list[str]:
    """A sentence for each setting that two records differ in, and one more where digests do: of files, that is.

    before, now: JSON values by name. then: when, or where, the former were.
    """
    told = [
        f"{name}: {_told(before.get(name))} {then}, {_told(now.get(name))} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if any(_MARK in sentence for sentence in told):
        told.append(f"a {_MARK} is of a file, or of all that was read: where it is another, files are")
    return told


def _told(value: Any) -> str:
    return _DIGEST.sub(rf"{_MARK} \1…", str(value))
