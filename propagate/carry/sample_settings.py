"""How samples are made from a clip: the choices that a user has."""

from dataclasses import dataclass

from jobs.console.settings import require_settings, setting
from propagate.data.sample import PAIRINGS
from propagate.shards.schema import IMAGE_FORMS

RESAMPLINGS = ("composed", "recursive")
HISTORIES = ("adjacent", "annotated")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How samples are made from a clip. `min_confidence`: pixels below it get the ignored label; None keeps all."""

    pairing: str = setting(
        "label",
        "label: real frames with propagated labels; joint: frames predicted by the same motion.",
        choices=PAIRINGS,
    )
    history: str = setting(
        "adjacent",
        "What the video predictor looks back on; annotated: the annotated frame too, as in the published script.",
        choices=HISTORIES,
    )
    resample: str = setting(
        "composed",
        "composed: once, from the annotated frame; recursive: at every step, as the published script does.",
        choices=RESAMPLINGS,
    )
    min_confidence: float | None = setting(
        None, "Ignore pixels that are less sure than this.", least=0, most=1, otherwise="off"
    )
    images: str = setting("encoded", "encoded: frames as their files hold them; raw: as pixels.", choices=IMAGE_FORMS)
    source: bool = setting(True, "Write the annotated frames themselves too.")
    one_sided: bool = setting(
        False, "Carry labels from one annotated frame alone, also to frames that lie between two."
    )

    def __post_init__(self) -> None:
        require_settings(self)

    @property
    def votes(self) -> bool:
        """Whether labels are chosen by votes; not where they are to move just as a frame, or a script, moved them."""
        return self.pairing == "label" and self.resample == "composed"

    @property
    def fuses(self) -> bool:
        """Whether the labels that come from both sides to a frame between two annotated ones are fused.

        Only where they vote, and not in the ways of the published script.
        """
        return self.votes and self.history == "adjacent" and not self.one_sided
