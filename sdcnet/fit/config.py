"""The settings of a training, and which of them decide the weights that come out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from jobs.training.devices import DEVICES, DTYPES
from jobs.training.weights import digest
from sdcnet.fit.schedules import SCHEDULES
from sdcnet.frames.sequence import FrameSequence
from sdcnet.motion.registry import INPUT_FLOWS
from sdcnet.networks.predictor import SDCNet2D, SDCNet2DRecon, VideoPredictor

# Those with kernels are trained in stages, which this training does not have.
ARCHITECTURES: Mapping[str, type[VideoPredictor]] = {"SDCNet2D": SDCNet2D, "SDCNet2DRecon": SDCNet2DRecon}
# What may change between a training and its resumption: where it runs, and how often it says and keeps something.
PASSING = ("out", "device", "loader_workers", "num_workers", "address", "save_every", "validate_every")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """A training. `crop` is (H, W); `weights` is a file to begin with; of `batch_size` samples a step, each of
    `num_workers` processes takes its share; `loader_workers` processes of each read them ahead.

    Raises ValueError for settings that make no sense.
    """

    sources: tuple[Path, ...]
    out: Path
    validation: tuple[Path, ...] = ()
    architecture: str = "SDCNet2DRecon"
    width: float = 1.0
    history: int = 2
    input_flow: str = "dis"
    flownet2_weights: Path | None = None
    weights: Path | None = None
    steps: int = 20_000
    batch_size: int = 8
    crop: tuple[int, int] = (256, 320)
    learning_rate: float = 1e-4
    schedule: str = "cosine"
    dtype: str = "float32"
    device: str = "auto"
    seed: int = 0
    loader_workers: int = 2
    num_workers: int = 1
    address: str | None = None
    save_every: int = 1000
    validate_every: int = 1000

    def __post_init__(self) -> None:
        choices = {
            "architecture": ARCHITECTURES,
            "input_flow": INPUT_FLOWS,
            "schedule": SCHEDULES,
            "dtype": DTYPES,
            "device": DEVICES,
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, found '{value}'")
        least = {"steps": 1, "batch_size": 1, "seed": 0, "loader_workers": 0, "num_workers": 1, "history": 1}
        for name, minimum in {**least, "save_every": 1, "validate_every": 1}.items():
            if (value := getattr(self, name)) < minimum:
                raise ValueError(f"{name} must be at least {minimum}, found {value}")
        if self.batch_size % self.num_workers:
            raise ValueError(f"a batch of {self.batch_size} cannot be shared equally by {self.num_workers} workers")
        with torch.device("meta"):
            ARCHITECTURES[self.architecture](num_history=self.history, width=self.width)
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, found {self.learning_rate}")

    def described(self, training: Sequence[FrameSequence], validation: Sequence[FrameSequence]) -> dict[str, Any]:
        """What decides the weights and what is measured on the way, as JSON values.

        Weights count by their file's content, frames by the names of their files, their number and size.
        Raises CheckpointError where a file of weights cannot be read.
        """
        sets = {"sources": training, "validation": validation}
        settings = {name: value for name, value in asdict(self).items() if name not in (*PASSING, *sets)}
        for name in ("weights", "flownet2_weights"):
            if settings[name] is not None:
                settings[name] = digest(settings[name])
        described = {name: _identity(sequences) for name, sequences in sets.items()}
        return {**settings, **described, "crop": list(self.crop)}


def _identity(sequences: Sequence[FrameSequence]) -> dict[str, Any]:
    listed = [(Path(sequence.name).name, len(sequence), sequence.size) for sequence in sequences]
    return {
        "sequences": len(listed),
        "frames": sum(length for _, length, _ in listed),
        "sha256": sha256(json.dumps(listed).encode()).hexdigest(),
    }
