"""How a network is given images; no PyTorch is needed to know it."""

from dataclasses import dataclass
from math import inf

from jobs.console.settings import require_settings, setting

DEFAULT_OVERLAP = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How a network is given an image.

    scales: the sizes, relative to the image's own, whose probabilities are averaged. flip: mirrored too. window: (H, W)
    in pixels of the image, the part of it that is seen at a time, or None for all of it; at scale 2 the network sees
    the same part four times as large. overlap: the share of a window that its neighbour sees too.
    """

    scales: tuple[float, ...] = setting((1.0,), "Average over these sizes.")
    flip: bool = setting(False, "Average over mirror images too.")
    window: tuple[int, int] | None = setting(
        None, "See so much of an image at a time, height x width.", otherwise="all of it"
    )
    overlap: float = setting(
        DEFAULT_OVERLAP, "Share of a window that the next one sees too.", least=0, most=0.99, otherwise="a third"
    )

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale < inf for scale in self.scales):
            raise ValueError(f"scales must be one or more positive numbers, found {self.scales}")
        if self.window is not None and min(self.window) < 1:
            raise ValueError(f"window must be at least 1x1 pixels, found {self.window}")
        require_settings(self)
        if self.window is None and self.overlap != DEFAULT_OVERLAP:
            raise ValueError("--overlap is of windows, and images are seen whole; give --window too, or leave it out")
