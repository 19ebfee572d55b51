"""RAFT's parameters: their names in its authors' files, and those that they have here, which are torchvision's."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

_Value = TypeVar("_Value")

# of the authors' names, in this order; each applies to what those before it made
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^fnet\.", "feature_encoder."),
        (r"^cnet\.", "context_encoder."),
        (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
        (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
        (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
        (r"^(\w+_encoder\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
        (r"^(\w+_encoder\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
        (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
        (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
        (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
        (r"^update_block\.gru\.(conv[zrq])\.", r"update_block.recurrent_block.convgru1.\1."),
        (r"^update_block\.gru\.(conv[zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.\1."),
        (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
        (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
    )
)
# a block's norm of its shortcut, which the large network's files hold twice
_REPEATED = re.compile(r"^cnet\.layer[23]\.0\.norm3\.")


def is_of_raft(name: str) -> bool:
    """Whether a parameter of this name is RAFT's, by either names: no other network here has encoders so called."""
    return name.startswith(("feature_encoder.", "context_encoder.")) or is_of_authors(name)


def is_of_authors(name: str) -> bool:
    """Whether a file that holds this name has the authors' names."""
    return name.startswith(("fnet.", "cnet."))


def published_name(name: str) -> str:
    """The authors' name for a parameter -> torchvision's."""
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name


def published_names(values: Mapping[str, _Value]) -> dict[str, _Value]:
    """The same under torchvision's names, without what the authors' files hold twice."""
    repeated = _twice(values)
    return {published_name(name): value for name, value in values.items() if name not in repeated}


def _twice(names: Iterable[str]) -> set[str]:
    """Those of a shortcut's norm by its second name, where the first is there; the small network has another norm3."""
    present = set(names)
    return {name for name in present if _REPEATED.match(name) and name.replace("norm3", "downsample.1") in present}
