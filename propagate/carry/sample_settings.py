"""How samples are made from a clip: the choices that a user has."""

from dataclasses import dataclass

from propagate.data.sample import PAIRINGS
from propagate.shards.schema import IMAGE_FORMS

RESAMPLINGS = ("composed", "recursive")
HISTORIES = ("adjacent", "annotated")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How samples are made from a clip. `min_confidence`: pixels below it get the ignored label; None keeps all."""

    pairing: str = "label"
    history: str = "adjacent"
    resample: str = "composed"
    min_confidence: float | None = None
    images: str = "encoded"
    source: bool = True

    def __post_init__(self) -> None:
        for name, value, known in (
            ("pairing", self.pairing, PAIRINGS),
            ("history", self.history, HISTORIES),
            ("resample", self.resample, RESAMPLINGS),
            ("images", self.images, IMAGE_FORMS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, found '{value}'")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence must lie within 0 and 1, found {self.min_confidence}")
