"""Motion from RAFT, on neighbouring frames: the features of each are computed once for all of a clip."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Self
from weakref import ref

import torch
from torch import Tensor

from jobs.training.runtime import Runtime, open_runtime
from sdcnet.errors import MotionError
from sdcnet.motion.estimator import Observation, Step
from sdcnet.motion.learned import batches, motion_and_dtype
from sdcnet.motion.registry import RAFTS, MotionSettings
from sdcnet.networks.checkpoints import raft_of, read_checkpoint
from sdcnet.networks.raft import NUM_UPDATES, RAFT


class RaftMotion:
    """The flow from each frame to the one before it on the walk."""

    num_history = 1
    refinable = True
    full_size = True
    is_network = True
    takes = ("raft_weights", "device", "dtype", "compile")

    def __init__(self, network: RAFT, runtime: Runtime, fingerprint: Mapping[str, object]) -> None:
        runtime.prepare(network)
        self._features = runtime.compiled(network.features)
        self._flow = runtime.compiled(network.flow_from_features)
        self._runtime = runtime
        self.transfers = runtime.transfers
        self._start: tuple[ref[Tensor], Tensor] | None = None  # of the last walk: its first frame, and the features
        self.fingerprint = {**fingerprint, "num_updates": NUM_UPDATES}

    @classmethod
    def open(cls, settings: MotionSettings) -> Self:
        """Raises: MotionError, CheckpointError, ComputeError, where what it needs is not there or cannot be used."""
        runtime = open_runtime(settings.device, settings.dtype, settings.compile)
        weights, variant = settings.raft_weights, RAFTS[settings.name]
        if weights is None:
            raise MotionError(
                f"motion '{settings.name}' needs the weights of a {variant} RAFT: give them with --raft-weights, "
                "torchvision's file or that of RAFT's authors; without weights there is --motion dis"
            )
        checkpoint = read_checkpoint(weights)
        if checkpoint.raft not in (None, variant):
            (name,) = (name for name, of_name in RAFTS.items() if of_name == checkpoint.raft)
            raise MotionError(f"{weights}: holds a {checkpoint.raft} RAFT, whose motion is '{name}'; ask for that")
        fingerprint = {**motion_and_dtype(settings), "raft_weights": checkpoint.digest}
        return cls(raft_of(checkpoint), runtime, fingerprint)

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        known = self._known_start(observations, steps)
        for batch, remaining in batches(steps, observations, self._runtime):
            wanted = [offset for offset in _offsets(batch) if offset not in known]
            if wanted:
                frames = torch.cat([observations[offset].pixels for offset in wanted])
                features = self._runtime.run(self._features, frames, gives="features")
                known |= zip(wanted, features.split(1), strict=True)
            if batch[0] is steps[0]:
                start = steps[0].source  # both walks of a clip begin at the annotated frame
                self._start = ref(observations[start].pixels), known[start].clone()
            targets = torch.cat([observations[step.target].pixels for step in batch])
            of_targets, of_sources = (
                torch.cat([known[offset] for offset in offsets])
                for offsets in ([step.target for step in batch], [step.source for step in batch])
            )
            yield from self._runtime.run(self._flow, targets, of_targets, of_sources, gives="flow").split(1)
            still_needed = set(_offsets(remaining))
            known = {offset: features for offset, features in known.items() if offset in still_needed}

    def _known_start(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> dict[int, Tensor]:
        """The features of the first frame by its offset, where the last walk began at the same one."""
        if self._start is None or not steps:
            return {}
        frame, features = self._start
        start = steps[0].source
        return {start: features} if frame() is observations[start].pixels else {}


def _offsets(steps: Sequence[Step]) -> list[int]:
    """The frames that the steps read, each once, in the order of first need."""
    return list(dict.fromkeys(chain.from_iterable((step.source, step.target) for step in steps)))
