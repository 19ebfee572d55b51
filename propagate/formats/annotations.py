"""What every format comes to: the classes that a file declares, and frames with a label map each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from propagate.errors import InputError

NOBODY = -1  # in maps of classes: pixels that nobody labelled
Color = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class AnnotatedFrame:
    """One annotated frame.

    name: its path as the annotations give it; `folders`, in the source, are where it is looked for first. where: the
    file that annotates it, for messages; `place` is its place there. size: (H, W) as annotated, where that is said.
    draw: from the frame's (H, W) to its map of classes, [H,W] int16 places among the declared ones, or NOBODY. Raises:
    ValueError, which says what is wrong; InputError.
    """

    name: str
    where: str
    place: str
    draw: Callable[[tuple[int, int]], np.ndarray]
    size: tuple[int, int] | None = None
    folders: Sequence[str] = ("",)


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What a source holds.

    classes: names and colours (None where none is said), in the order in which they are declared. frames: those that
    somebody annotated. maps: the files of label maps, which are no frames. passed_over: what is no area, and so not
    imported, by its kind.
    """

    classes: Mapping[str, Color | None]
    frames: Sequence[AnnotatedFrame]
    maps: frozenset[str] = frozenset()
    passed_over: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def refused(where: str) -> Iterator[None]:
    """Within it, a ValueError is that file's fault. Raises: InputError."""
    try:
        yield
    except ValueError as error:
        raise InputError(where, str(error)) from None
