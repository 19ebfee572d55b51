"""What a file of ours says of its network, as JSON, and the network that this describes.

It says so under the name of the program that it is for, as a key of its metadata.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import torch
from torch import nn

from jobs.errors import CheckpointError
from jobs.training.checksums import AGAIN

_Network = TypeVar("_Network", bound=nn.Module)
_Description = TypeVar("_Description")


def parse_description(path: Path, text: str, kind: type[_Description], version: int) -> _Description:
    """The JSON object with which a file of ours describes its network, as the dataclass that it was written from.

    Raises: CheckpointError, where it is none, or of another version.
    """
    try:
        content = json.loads(text)
        found = content.pop("version")
        description = kind(**content) if found == version else None
        _require_types(description)
        json.dumps(content, ensure_ascii=False).encode()  # or it cannot be printed
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(str(path), f"its description cannot be read ({error!r}). {AGAIN}") from error
    if description is None:
        reason = f"a file of version {found}, this program reads version {version}. Update the program"
        raise CheckpointError(str(path), reason)
    return description


def network_of_another(metadata: Mapping[str, str], program: str) -> str | None:
    """The network that a file describes for another program, not for this one; None where it describes none so."""
    if program in metadata:
        return None
    for other, text in metadata.items():
        try:
            architecture = json.loads(text)["architecture"]
        except (ValueError, TypeError, KeyError, RecursionError):  # of a checksum, and what others write
            continue
        if f"{architecture}{other}".isprintable():
            return f"{architecture}, a network of `{other}`"
    return None


def build_without_values(path: Path, kind: Callable[..., _Network], settings: Mapping[str, Any]) -> _Network:
    """The network that a file describes, on the meta device, where it costs nothing and draws no random numbers.

    Raises: CheckpointError, where there is no network of these settings.
    """
    try:
        with torch.device("meta"):
            return kind(**settings)
    except Exception as error:  # layers raise anything, depending on the numbers
        reason = f"its settings {dict(settings)} are no network's ({error}). {AGAIN}"
        raise CheckpointError(str(path), reason) from error


def _require_types(description: Any) -> None:
    """Raises: TypeError where a field is of another type than its dataclass says."""
    hints = {} if description is None else get_type_hints(type(description))
    for name, hint in hints.items():
        value = getattr(description, name)
        is_right = isinstance(value, get_origin(hint) or hint)
        if not is_right or (hint == Sequence[str] and not all(isinstance(item, str) for item in value)):
            raise TypeError(f"{name} is {value!r:.40}")
