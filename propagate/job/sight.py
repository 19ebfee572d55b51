"""What the driver sees of inputs, weights and store, for workers on other machines to compare with what they see."""

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.errors import UnfitNodeError
from jobs.files import write_whole
from propagate.data.clip import Clip, Frame, Resource
from propagate.errors import InputError, StoreError

NUM_TRIED = 10  # clips, until one is found that can be read
SIGN = ".sign-{}"
Place = Frame | Resource
ADVICE = "mount the data set, the weights and OUT on every node at the same paths"


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a worker has to see: a file in the store that holds its own name, a label map, frames, masks, and weights.

    inputs: each with the SHA-256 of what the driver read. settings: with the digests of weights, as the store has them.
    """

    sign: Path
    inputs: tuple[tuple[Place, str], ...]
    settings: Mapping[str, Any]

    def require_store_and_inputs(self) -> None:
        """Raise UnfitNodeError where this machine does not see them as the driver does."""
        try:
            seen = self.sign.read_text()
        except OSError as error:
            raise UnfitNodeError(f"{self.sign.parent}: not the driver's store ({error.strerror}); {ADVICE}") from None
        if seen != self.sign.name:
            raise UnfitNodeError(f"{self.sign.parent}: not the driver's store (another sign in it); {ADVICE}")
        for place, digest in self.inputs:
            try:
                found = _digest(place)
            except InputError as error:
                raise UnfitNodeError(f"{error}; {ADVICE}") from None
            if found != digest:
                raise UnfitNodeError(f"{_where(place)}: other bytes than the driver's; {ADVICE}")

    def require_weights(self, fingerprint: Mapping[str, Any]) -> None:
        """Raise UnfitNodeError where an estimator of motion was opened from other weights than the driver's."""
        for name, value in fingerprint.items():
            if self.settings.get(name) != value:
                raise UnfitNodeError(f"{name} is {value}, and {self.settings.get(name)} for the driver; {ADVICE}")


@contextmanager
def shown_sight(store: Path, clips: Sequence[Clip], settings: Mapping[str, Any]) -> Iterator[Sight]:
    """What the driver sees; the sign in the store is there as long as the context.

    clips: the first of them that can be read is shown: its label map, the annotated frame and the last, and masks.
    Raises: StoreError where the store cannot be written.
    """
    sign = store / SIGN.format(secrets.token_hex(6))
    try:
        write_whole(sign, sign.name.encode(), synced=False)
    except OSError as error:
        raise StoreError(f"{store}: cannot be written ({error.strerror}); make room or choose another OUT") from None
    try:
        yield Sight(sign=sign, inputs=_shown(clips), settings=settings)
    finally:
        with suppress(OSError):
            sign.unlink()


def _shown(clips: Sequence[Clip]) -> tuple[tuple[Place, str], ...]:
    for clip in islice((clip for clip in clips if 0 in clip.frames), NUM_TRIED):
        labels = () if clip.label is None else (clip.label.resource,)
        places = (*labels, clip.frames[0], clip.frames[max(clip.frames)], *islice(clip.masks.values(), 1))
        with suppress(InputError):
            return tuple((place, _digest(place)) for place in places)
    return ()


def _digest(place: Place) -> str:
    """SHA-256 of a file, or of the pixels where there is no file. Raises: InputError."""
    if isinstance(place, Resource):
        data: Any = place.read()
    else:
        encoded = place.encoded()
        data = place.pixels() if encoded is None else encoded
    return hashlib.sha256(data).hexdigest()


def _where(place: Place) -> str:
    return str(place) if isinstance(place, Resource) else place.where
