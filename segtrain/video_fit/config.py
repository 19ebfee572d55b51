"""The settings of a training of a scheme for video, each declared once."""

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from jobs.console.settings import setting, setting_of
from segtrain.config import TrainingConfig
from segtrain.data.motion_settings import PairMotionSettings
from segtrain.data.surroundings import Surroundings
from segtrain.models.registry import NETWORKS
from segtrain.video.registry import FORMS, GATES, LEARNT, RESIDUALS, SchemeOptions


@dataclass(frozen=True, kw_only=True)
class VideoFitConfig(PairMotionSettings, TrainingConfig):
    """A training of a scheme on a network, the base, which it does not change.

    Raises: ValueError for settings that make no sense.
    """

    scheme: str = setting("twnet", "What is trained.", choices=LEARNT)
    base: Path = setting(MISSING, "The network: a file of `segtrain fit`, or a published one.")
    architecture: str | None = setting(
        None, "Which network a published file holds.", choices=NETWORKS, otherwise="as the file says, if it is ours"
    )

    # what is learnt
    stages: tuple[str, ...] = setting(
        (),
        "twnet: the stages whose features are carried; netwarp: those at which frames are mixed.",
        otherwise="what the decoder reads beyond the network's first cut",
    )
    fine_tune: bool = setting(True, "Train copies of the layers that run after, too.")
    gate: str = setting("none", "Say or leave out what the motion does not know, or what is occluded.", choices=GATES)
    residual: str = setting("absolute", "twnet: what the attention sees of the frames' difference.", choices=RESIDUALS)
    flow_cnn: str = setting("released", "netwarp: the published form, or the paper's.", choices=FORMS)
    consistency: float = setting(10.0, "twnet: weight of the features' distance from the base's own.", least=0)
    unroll: int = setting(1, "twnet: the key frame is so many frames before the annotated one.", least=1)

    # how it is watched
    interval: int = setting_of(SchemeOptions, "interval", help="twnet: validate with so many frames a key frame.")

    optimiser: str = setting_of(TrainingConfig, "optimiser", default="adamw")
    learning_rate: float = setting_of(
        TrainingConfig, "learning_rate", default=0.001, help="The first; a tenth of it for copies of the base's layers."
    )
    weight_decay: float = setting_of(TrainingConfig, "weight_decay", default=1e-7)
    loss: str = setting_of(TrainingConfig, "loss", default="cross-entropy")
    class_uniform: float = setting_of(TrainingConfig, "class_uniform", default=0.0)
    power: float = setting_of(TrainingConfig, "power", default=0.9)

    def __post_init__(self) -> None:
        PairMotionSettings.__post_init__(self)
        TrainingConfig.__post_init__(self)
        of_others = {"netwarp": ("residual", "consistency", "unroll", "interval"), "twnet": ("flow_cnn",)}
        for name in of_others[self.scheme]:
            if getattr(self, name) != getattr(VideoFitConfig, name):
                raise ValueError(f"{self.scheme} has no --{name.replace('_', '-')}; leave it out")

    @property
    def surroundings(self) -> Surroundings:
        """The frames before the annotated one that a sample needs, the first one first."""
        return Surroundings((tuple(range(-self.unroll, 0)),))

    @property
    def scheme_settings(self) -> dict[str, Any]:
        """As `Learnt.on` takes them."""
        common = {"gate": self.gate, "fine_tune": self.fine_tune}
        if self.scheme == "twnet":
            return {"carried": list(self.stages), "residual": self.residual, **common}
        return {"at": list(self.stages), "form": self.flow_cnn, "as_published": False, **common}
