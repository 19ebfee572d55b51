"""Which pixels lie near boundaries; neither PyTorch nor OpenCV is needed to know it."""

from dataclasses import dataclass

from jobs.console.settings import require_settings, setting

SHAPES = ("round", "square")


@dataclass(frozen=True, kw_only=True)
class Band:
    """The pixels that the trimap IoU looks at: see `propagate.scoring.metrics.trimap`.

    width: pixels on either side of a boundary. shape: round, at most so many pixels from another class; square, as the
    published evaluation of NetWarp has it.
    """

    width: int = setting(3, "Pixels on each side of boundaries that the trimap IoU looks at.", least=1, option="band")
    shape: str = setting(
        "round",
        "How far these are from the boundary: in a circle, or in rows and columns.",
        choices=SHAPES,
        option="band-shape",
    )

    def __post_init__(self) -> None:
        """Raises: ValueError for no width, and for a shape that is none of SHAPES."""
        require_settings(self)

    @property
    def title(self) -> str:
        """As tables call it."""
        return f"{self.width} px" if self.shape == "round" else f"{self.width} px {self.shape}"


DEFAULT_BAND = Band()
