"""The settings of a training, and which of them decide the weights that come out; no PyTorch is needed to know them."""

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.console.settings import require_settings, setting, setting_of
from jobs.registry import Registry
from jobs.training.devices import RuntimeSettings
from sdcnet.fit.schedules import SCHEDULES
from sdcnet.motion.registry import INPUT_FLOWS

if TYPE_CHECKING:
    from sdcnet.frames.sequence import FrameSequence
    from sdcnet.networks.predictor import VideoPredictor

# Those with kernels are trained in stages, which this training does not have.
ARCHITECTURES: "Registry[type[VideoPredictor]]" = Registry(
    "architecture", {name: f"sdcnet.networks.predictor:{name}" for name in ("SDCNet2D", "SDCNet2DRecon")}
)


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """A training. `crop` is (H, W); `weights` is a file to begin with; of `batch_size` samples a step, each of
    `num_workers` processes takes its share; `loader_workers` processes of each read them ahead.

    Raises: ValueError for settings that make no sense.
    """

    sources: tuple[Path, ...] = setting(MISSING, "Folders of images, or videos.", argument="SOURCE...")
    out: Path = setting(MISSING, "The run's folder: a new one, or one to go on with.", passing=True)
    validation: tuple[Path, ...] = setting(
        (), "Frames to score on, not to train on; repeatable.", option="val", repeatable=True
    )
    architecture: str = setting("SDCNet2DRecon", "The network.", choices=ARCHITECTURES)
    width: float = setting(1.0, "Scales the channels; 1 as published.")
    history: int = setting(2, "Frames before the target.", least=1)
    input_flow: str = setting("dis", "The flow that the network refines.", choices=INPUT_FLOWS)
    flownet2_weights: Path | None = setting(
        None, "--input-flow flownet2, which needs it: the published file, or one converted from it."
    )
    weights: Path | None = setting(None, "A predictor to begin with.", otherwise="one that returns its input flow")
    steps: int = setting(20_000, "Of the whole training.", least=1)
    batch_size: int = setting(8, "Of all workers together.", least=1)
    crop: tuple[int, int] = setting((256, 320), "Height x width.")
    learning_rate: float = setting(1e-4, "The highest.")
    schedule: str = setting("cosine", "How the learning rate falls.", choices=SCHEDULES)
    dtype: str = setting_of(RuntimeSettings, "dtype")
    device: str = setting_of(RuntimeSettings, "device", passing=True)
    seed: int = setting(0, "Another one draws other samples and first weights.", least=0)
    loader_workers: int = setting(2, "Processes of each worker that read ahead.", least=0, passing=True)
    num_workers: int = setting(1, "Several: by Ray Train.", least=1, option="workers", passing=True)
    address: str | None = setting(
        None, "A running Ray cluster, as host:port.", otherwise="this machine alone", passing=True
    )
    save_every: int = setting(1000, "Steps between checkpoints.", least=1, passing=True)
    validate_every: int = setting(1000, "Steps between validations.", least=1, passing=True)

    def __post_init__(self) -> None:
        require_settings(self)
        if shared := sorted(set(self.sources) & set(self.validation)):
            raise ValueError(f"{shared[0]} is both to train on and to validate on; give --val other frames")
        if self.batch_size % self.num_workers:
            raise ValueError(f"a batch of {self.batch_size} cannot be shared equally by {self.num_workers} workers")
        if self.architecture == "SDCNet2D" and self.history < 2:  # the other one sees the target too
            raise ValueError(f"SDCNet2D needs flows, so two frames or more; found history {self.history}")
        if self.flownet2_weights is not None and self.input_flow != "flownet2":
            raise ValueError(f"flownet2_weights are of --input-flow flownet2, found {self.input_flow}")
        if not 0 < self.width < inf:
            raise ValueError(f"width must be a number above 0, found {self.width}")
        if not 0 < self.learning_rate < inf:
            raise ValueError(f"learning_rate must be a number above 0, found {self.learning_rate}")

    def described(self, training: "Sequence[FrameSequence]", validation: "Sequence[FrameSequence]") -> dict[str, Any]:
        """What decides the weights and what is measured on the way, as JSON values.

        Weights count by their file's content, frames by the names of their files, their number and size.
        Raises: CheckpointError where a file of weights cannot be read.
        """
        from jobs.training.weights import digest

        sets = {"sources": training, "validation": validation}
        passing = {each.name for each in fields(self) if each.metadata["passing"]}
        settings = {name: value for name, value in asdict(self).items() if name not in (*passing, *sets)}
        for name in ("weights", "flownet2_weights"):
            if settings[name] is not None:
                settings[name] = digest(settings[name])
        described = {name: _identity(sequences) for name, sequences in sets.items()}
        return {**settings, **described, "crop": list(self.crop)}


def _identity(sequences: "Sequence[FrameSequence]") -> dict[str, Any]:
    listed = [(Path(sequence.name).name, len(sequence), sequence.size) for sequence in sequences]
    return {
        "sequences": len(listed),
        "frames": sum(length for _, length, _ in listed),
        "sha256": sha256(json.dumps(listed).encode()).hexdigest(),
    }
