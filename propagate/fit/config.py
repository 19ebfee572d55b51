"""The settings of a corrector's training, and which of them decide the weights; no PyTorch is needed to know them."""

import json
from collections.abc import Mapping, Sequence, Sized
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any, ClassVar

from jobs.console.settings import require_settings, setting, setting_of
from jobs.training.devices import RuntimeSettings
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip, Label
from propagate.datasets.registry import DatasetChoice, found_dataset
from propagate.job.config import NUM_NEIGHBOURS, RunConfig
from propagate.job.plan import make_plan
from sdcnet.motion.registry import MotionSettings, open_estimator


@dataclass(frozen=True, kw_only=True)
class TaughtMotion(MotionSettings):
    """The motion whose labels teach. `device`: of the training, whatever the motion is, and of its network, if any."""

    OF_ALL: ClassVar[tuple[str, ...]] = ("name", "device")

    device: str = setting_of(
        RuntimeSettings, "device", help="Where the corrector and networks compute; auto: on a GPU, where there is one."
    )


@dataclass(frozen=True, kw_only=True)
class FitConfig(DatasetChoice):
    """A training. `crop` is (H, W), at most. Raises: ValueError for settings that make no sense."""

    out: Path = setting(MISSING, "The run's folder: a new one, or one to go on with.", passing=True)
    truth: Path | None = setting(
        None,
        "A folder of true label maps of neighbours too, as that of `propagate evaluate --truth`.",
        otherwise="none: annotated frames teach it, to which labels are carried out and back",
    )
    frames: int = setting_of(RunConfig, "frames", default=NUM_NEIGHBOURS, least=1, otherwise="")
    motion: TaughtMotion = field(default_factory=TaughtMotion)
    examples: int = setting(100, "Frames with carried labels to learn from, as far as there are so many.", least=2)
    steps: int = setting(600, "Of the whole training.", least=1)
    batch_size: int = setting(6, "Crops of a step.", least=2)
    crop: tuple[int, int] = setting((160, 224), "Height x width; less where frames are smaller.")
    learning_rate: float = setting(2e-3, "The highest.")
    seed: int = setting(0, "Another one draws other examples and first weights.", least=0)
    save_every: int = setting(200, "Steps between checkpoints.", least=1, passing=True)
    validate_every: int = setting(200, "Steps between validations.", least=1, passing=True)

    def __post_init__(self) -> None:
        require_settings(self)
        if not 0 < self.learning_rate < inf:
            raise ValueError(f"learning_rate must be a number above 0, found {self.learning_rate}")
        if min(self.crop) < 1:
            raise ValueError("crop must be of 1x1 or more, found {}x{}".format(*self.crop))

    def found(self) -> "FitConfig":
        """The same with the name of the data set's layout. Raises: DatasetError where it cannot be told."""
        return self if self.dataset is not None else replace(self, dataset=found_dataset(self.options))

    def described(self, classes: ClassTable, clips: Sequence[Clip], known: Mapping[str, Label]) -> dict[str, Any]:
        """What decides the weights and what is measured on the way, as JSON values. Opens files of weights.

        known: the labels that there are of frames, by key.
        Raises: MotionError, CheckpointError, where they cannot be used.
        """
        from propagate.carry.samples import CARRYING

        apart = {"options", "motion", "truth", "dataset"}
        deciding = [each.name for each in fields(self) if not each.metadata.get("passing") and each.name not in apart]
        values = asdict(self)
        motion = replace(self.motion, device="cpu") if self.motion.is_network else self.motion
        inputs: dict[str, Sized] = {
            "clips": [clip.inputs for shard in make_plan(clips, 1) for clip in shard.clips],
            "known_labels": [[key, *known[key].resource.identity, known[key].holds] for key in sorted(known)],
            "classes": classes.to_json(),
        }
        return {
            **{name: values[name] for name in deciding},
            "crop": list(self.crop),
            "dataset": self.dataset,
            "split": self.options.split,
            "carrying": CARRYING,
            **{name: f"{len(held)}, {sha256(json.dumps(held).encode()).hexdigest()}" for name, held in inputs.items()},
            **open_estimator(motion).fingerprint,
        }
