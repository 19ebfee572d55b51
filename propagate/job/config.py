"""What a run is asked to do; no PyTorch is needed to know it."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.console.settings import require_settings, setting
from jobs.pool.run import ENGINES
from propagate.carry.sample_settings import SampleSettings
from propagate.datasets.registry import DatasetChoice, found_dataset
from propagate.job.plan import FEWEST_SHARDS, MOST_CLIPS
from sdcnet.errors import MotionError
from sdcnet.motion.registry import PREDICTORS, MotionSettings, open_estimator

NUM_NEIGHBOURS = 5  # on each side, where nothing else is asked for


@dataclass(frozen=True, kw_only=True)
class RunConfig(DatasetChoice):
    """What `propagate run` is asked to do: everything here but the engine decides what the store will hold."""

    out: Path = setting(
        Path("shards"),
        "The shard store: a new folder, or one to go on with.",
        otherwise="PROPAGATE_OUT, or shards",
        variable="PROPAGATE_OUT",
    )
    frames: int | None = setting(None, "Neighbours on each side.", least=0, otherwise=str(NUM_NEIGHBOURS))
    masks: Path | None = setting(
        None,
        "Masks of neighbours, DIR/…/<frame>.png or .json, as SAM gives them; carried labels vote in them.",
        otherwise="none",
    )
    corrector: Path | None = setting(
        None, "A corrector of carried labels, as `propagate fit-corrector` trains it.", otherwise="none"
    )
    motion: MotionSettings = field(default_factory=MotionSettings)
    sample_settings: SampleSettings = field(default_factory=SampleSettings)
    clips_per_shard: int | None = setting(
        None,
        "Clips that a file of the store holds, a worker's unit of work.",
        least=1,
        otherwise=f"{MOST_CLIPS}, or so few that there are {FEWEST_SHARDS} files",
    )
    limit: int | None = setting(None, "Only the first N clips.", least=1, otherwise="all")
    engine: str = setting("ray", "ray: several workers at a time; local: in this process.", choices=ENGINES)
    num_workers: int | None = setting(
        None, "Of Ray.", least=1, option="workers", otherwise="as the cores and GPUs of its nodes have room for"
    )
    address: str | None = setting(None, "A running Ray cluster, as host:port.", otherwise="one on this machine alone")

    def __post_init__(self) -> None:
        require_settings(self)
        require_engine(self.engine, self.num_workers, self.address)
        if self.frames is not None and self.sample_settings.offsets is not None:
            raise ValueError("--frames are all up to N, --offsets exactly those; give one of them")
        if self.frames == 0 and not self.sample_settings.source:
            raise ValueError("--frames 0 has annotated frames alone, and --no-source none of them; leave out one")
        for option, given in (("--masks", self.masks), ("--corrector", self.corrector)):
            if given is not None and self.sample_settings.pairing == "joint":
                raise ValueError(
                    f"{option} is for real frames, and --pairing joint has predicted ones; leave one of them out"
                )
        history = self.sample_settings.history
        if history != "adjacent" and self.motion.name not in PREDICTORS:
            raise MotionError(
                f"history '{history}' is for {' and '.join(PREDICTORS)}; motion '{self.motion.name}' looks "
                "back on one frame only; leave it out"
            )

    @property
    def reach(self) -> range:
        """The offsets from the first that is asked for to the last, 0 among them."""
        offsets = self.sample_settings.offsets
        if offsets is not None:
            return range(min(0, *offsets), max(0, *offsets) + 1)
        num_neighbours = NUM_NEIGHBOURS if self.frames is None else self.frames
        return range(-num_neighbours, num_neighbours + 1)

    def found(self) -> "RunConfig":
        """The same with the name of the data set's layout. Raises: DatasetError where it cannot be told."""
        return self if self.dataset is not None else replace(self, dataset=found_dataset(self.options))

    def settings(self) -> dict[str, Any]:
        """What decides the content of the store, as plain values. Opens files of weights, if there are any.

        Raises: MotionError, CheckpointError, where they cannot be used.
        """
        from jobs.training.weights import digest

        # a driver needs no GPU, and the device does not decide what is computed
        motion = replace(self.motion, device="cpu") if self.motion.is_network else self.motion
        samples = asdict(self.sample_settings)
        offsets = samples.pop("offsets")  # this and the corrector: no part of stores that do without
        return {
            "dataset": self.dataset,
            "split": self.options.split,
            "frames": max(map(abs, self.reach)),
            **({} if offsets is None else {"offsets": sorted(offsets)}),
            "masks": self.masks is not None,  # which, the inputs of clips say
            **({} if self.corrector is None else {"corrector": digest(self.corrector)}),
            **open_estimator(motion).fingerprint,
            "path": "device" if self.motion.is_network else "host",
            **samples,
            "max_gap": self.options.max_gap,
            "clips_per_shard": self.clips_per_shard,
            "limit": self.limit,
        }


def require_engine(engine: str, num_workers: int | None, address: str | None) -> None:
    """Raise ValueError where settings of Ray are given to another engine."""
    if address is not None and engine != "ray":
        raise ValueError("--address names a Ray cluster: use it with --engine ray")
    if num_workers is not None and engine != "ray":
        raise ValueError("--workers are Ray's: leave it out, or use --engine ray; local is one, in this process")


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """How a run goes on with a store that there is already."""

    retry_failed: bool = setting(False, "Make the shards with failed clips again.")
    overwrite: bool = setting(False, "Remove the store's shards and begin anew.")
