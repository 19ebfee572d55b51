"""How pseudo labels are made: the choices that a user has; no PyTorch is needed to know them."""

from dataclasses import dataclass

from jobs.console.settings import require_settings, setting, setting_of
from segtrain.inference_settings import Inference


@dataclass(frozen=True, kw_only=True)
class TeacherInference(Inference):
    """How a teacher is given a frame: by default at six sizes, mirrored too."""

    scales: tuple[float, ...] = setting_of(Inference, "scales", default=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75))
    flip: bool = setting_of(Inference, "flip", default=True)


@dataclass(frozen=True, kw_only=True)
class PseudoSettings:
    """Which of the labels that a teacher predicts are kept."""

    threshold: float = setting(
        0.9,
        "Ignore labels that are less probable than this, and than the median of their class; 0: none.",
        least=0,
        most=1,
    )
    calibrate_on: int = setting(200, "Find the medians of classes on so many frames, evenly spread.", least=1)
    temporal_filter: bool = setting(
        True, "Ignore labels that those of the frames before and after contradict, along the motion."
    )

    def __post_init__(self) -> None:
        require_settings(self)
