"""How samples are made from a clip: the choices that a user has."""

from dataclasses import dataclass, replace

from jobs.console.settings import require_settings, setting
from propagate.data.sample import PAIRINGS, require_chosen_offsets
from propagate.shards.schema import IMAGE_FORMS

RESAMPLINGS = ("composed", "recursive")
HISTORIES = ("adjacent", "annotated")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How samples are made from a clip. `min_confidence`: pixels below it get the ignored label; None keeps all.

    offsets: those that samples are made of, 0 for the annotated frame, in any order; None: of all frames of the clip.

    Raises: ValueError for settings that make no sense.
    """

    offsets: tuple[int, ...] | None = setting(
        None,
        "Instead of --frames: exactly these offsets, as -3,0,3, each from its own annotated frame alone, which is 0.",
        otherwise="all of --frames",
    )
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
        if self.one_sided and not replace(self, one_sided=False).fuses:
            raise ValueError(
                "--one-sided is for labels that would be fused, and those of --offsets, --pairing joint, --resample "
                "recursive and --history annotated never are; leave it out"
            )
        if self.offsets is None:
            return
        require_chosen_offsets(self.offsets, none_else="--frames 0")
        if not self.source:
            raise ValueError("--offsets has a 0, or none, for the annotated frames; leave out --no-source")

    def makes(self, offset: int) -> bool:
        """Whether a sample is made of the frame at an offset."""
        return (self.source or offset != 0) if self.offsets is None else offset in self.offsets

    def passes(self, offset: int) -> bool:
        """Whether labels are carried to the frame at an offset: to all on the way, where each is made of the last."""
        return self.makes(offset) or self.resample == "recursive"

    @property
    def votes(self) -> bool:
        """Whether labels are chosen by votes; not where they are to move just as a frame, or a script, moved them."""
        return self.pairing == "label" and self.resample == "composed"

    @property
    def fuses(self) -> bool:
        """Whether the labels that come from both sides to a frame between two annotated ones are fused.

        Only where they vote, and not in the ways of the published script; nor where offsets are chosen, which are then
        of every annotated frame alike.
        """
        return self.votes and self.history == "adjacent" and not self.one_sided and self.offsets is None
