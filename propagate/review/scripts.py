"""Data as scripts that call a page's functions: what a page may load from a disk, where it may not fetch files."""

import json
from typing import Any

from jobs.console.values import finite

# No text can end the script, or begin a comment of HTML, whatever it is read as; U+2028 is escaped as all non-ASCII.
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def call(function: str, *values: Any) -> bytes:
    """A script that calls `report.FUNCTION(VALUE, …)`, in ASCII alone."""
    return f"report.{function}({', '.join(map(_literal, values))});\n".encode("ascii")


def _literal(value: Any) -> str:
    return json.dumps(finite(value), separators=(",", ":"), allow_nan=False).translate(_ESCAPES)
