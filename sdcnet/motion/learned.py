"""Motion from networks: FlowNet2 on neighbouring frames, and the video predictors that refine such flows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from jobs.training.runtime import Runtime, open_runtime
from sdcnet.errors import MotionError
from sdcnet.motion.estimator import Observation, Step
from sdcnet.motion.pair_flow import PairFlow, open_pair_flow
from sdcnet.motion.registry import INPUT_FLOWS, PREDICTORS, MotionSettings
from sdcnet.networks.checkpoints import predictor_of, read_checkpoint
from sdcnet.networks.predictor import VideoPredictor

Pair = tuple[int, int]  # the offsets of a flow's target and source
_OF_NETWORKS = ("flownet2_weights", "device", "dtype", "compile")  # the settings that all networks take


class FlowNet2Motion:
    """The flow from each frame to the one before it on the walk, and nothing else."""

    num_history = 1
    refinable = True
    full_size = True
    is_network = True
    takes = _OF_NETWORKS

    def __init__(self, flows: PairFlow, runtime: Runtime, fingerprint: Mapping[str, object]) -> None:
        self._flows, self._runtime, self.transfers = flows, runtime, runtime.transfers
        self.fingerprint = {**fingerprint, **flows.fingerprint}

    @classmethod
    def open(cls, settings: MotionSettings) -> Self:
        """Raises: MotionError, CheckpointError, ComputeError, where what it needs is not there or cannot be used."""
        runtime = open_runtime(settings.device, settings.dtype, settings.compile)
        return cls(open_pair_flow("flownet2", settings.flownet2_weights, runtime), runtime, motion_and_dtype(settings))

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        for batch, _ in batches(steps, observations, self._runtime):
            pairs = [(step.target, step.source) for step in batch]
            yield from _estimate_pairs(self._flows, observations, pairs).split(1)


class PredictedMotion:
    """The displacement that a video predictor makes of the flows between the frames that it sees.

    Each flow is estimated once for all steps of a walk: a reconstruction of five steps from adjacent history needs six.
    """

    refinable = True
    full_size = True
    is_network = True
    takes = (*_OF_NETWORKS, "sdcnet_weights", "input_flow")

    def __init__(
        self, network: VideoPredictor, flows: PairFlow, runtime: Runtime, fingerprint: Mapping[str, object]
    ) -> None:
        self.num_history, self._sees_target = network.num_history, network.sees_target
        self._displacement = runtime.compiled(runtime.prepare(network).displacement)
        self._flows, self._runtime, self.transfers = flows, runtime, runtime.transfers
        self.fingerprint = {**fingerprint, **flows.fingerprint}

    @classmethod
    def open(cls, settings: MotionSettings) -> Self:
        """Raises: MotionError, CheckpointError, ComputeError, where what it needs is not there or cannot be used."""
        runtime = open_runtime(settings.device, settings.dtype, settings.compile)
        weights, expected = settings.sdcnet_weights, PREDICTORS[settings.name]
        if weights is None:
            raise MotionError(
                f"motion '{settings.name}' needs the weights of an {expected}: give them with --sdcnet-weights, the "
                "published file or one of `sdcnet fit`; without weights there is --motion dis"
            )
        checkpoint = read_checkpoint(weights)
        network = predictor_of(checkpoint, checkpoint.predictor or expected)
        of_the_file = "sdcnet" if network.sees_target else "sdcnet-predict"
        if of_the_file != settings.name:
            raise MotionError(
                f"{weights}: holds {type(network).__name__}, whose motion is '{of_the_file}'; ask for that"
            )
        flownet2_weights = settings.flownet2_weights or (checkpoint if checkpoint.has_flownet2 else None)
        input_flow = settings.input_flow or checkpoint.input_flow or "flownet2"
        if input_flow not in INPUT_FLOWS:
            raise MotionError(f"{weights}: says that it refines {input_flow!r}; say by --input-flow what it does")
        flows = open_pair_flow(input_flow, flownet2_weights, runtime, runtime.transfers)
        return cls(network, flows, runtime, {**motion_and_dtype(settings), "sdcnet_weights": checkpoint.digest})

    def estimate(self, observations: Mapping[int, Observation], steps: Sequence[Step]) -> Iterator[Tensor]:
        known: dict[Pair, Tensor] = {}
        for batch, remaining in batches(steps, observations, self._runtime):
            wanted = [pair for pair in self._pairs(batch) if pair not in known]
            if wanted:
                known |= zip(wanted, _estimate_pairs(self._flows, observations, wanted), strict=True)
            seen = ([observations[offset].pixels for offset in self._seen(step)] for step in batch)
            inputs = torch.stack([torch.cat(frames) for frames in seen])
            flows = torch.stack([torch.stack([known[pair] for pair in self._pairs([step])]) for step in batch])
            yield from self._runtime.run(self._displacement, inputs.flip(2), flows, gives="flow").split(1)
            still_needed = set(self._pairs(remaining))
            known = {pair: flow for pair, flow in known.items() if pair in still_needed}

    def _seen(self, step: Step) -> tuple[int, ...]:
        """The offsets of the frames that the network sees, oldest first."""
        return (*step.history, step.target) if self._sees_target else step.history

    def _pairs(self, steps: Iterable[Step]) -> list[Pair]:
        """The flows that the steps read, each once, in the order of first need."""
        pairs = ((later, earlier) for step in steps for earlier, later in pairwise(self._seen(step)))
        return list(dict.fromkeys(pairs))


def motion_and_dtype(settings: MotionSettings) -> dict[str, object]:
    """What decides the numbers of any network, as part of a fingerprint."""
    return {"motion": settings.name, "dtype": settings.dtype}


def batches(
    steps: Sequence[Step], observations: Mapping[int, Observation], runtime: Runtime
) -> Iterator[tuple[Sequence[Step], Sequence[Step]]]:
    """The steps, as many at a time as the runtime computes at once, and with each batch those that remain after it."""
    size = runtime.samples_at_a_time(observations[steps[0].target].pixels.shape) if steps else 1
    for start in range(0, len(steps), size):
        yield steps[start : start + size], steps[start + size :]


def _estimate_pairs(flows: PairFlow, observations: Mapping[int, Observation], pairs: Sequence[Pair]) -> Tensor:
    """The flows of pairs of offsets [B,2,H,W]."""
    targets, sources = (
        torch.cat([observations[offset].pixels for offset in offsets]) for offsets in zip(*pairs, strict=True)
    )
    return flows(targets, sources)
