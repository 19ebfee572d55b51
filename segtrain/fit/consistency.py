"""What consistency terms need beside the student: the motion of a batch, a teacher, and an encoder of sequences."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from jobs.console.progress import Advance
from jobs.errors import FitError
from jobs.training.runtime import Runtime, open_runtime
from propagate.data.classes import ClassTable
from sdcnet.geometry import inside, warp_labels
from sdcnet.motion.estimator import MotionEstimator
from sdcnet.motion.registry import open_estimator
from segtrain.config import FitConfig
from segtrain.data.batches import Batch
from segtrain.data.dataset import SegmentationDataset
from segtrain.data.flow_cache import FlowCache, WithFlows, fill, seen_flow
from segtrain.errors import DataError
from segtrain.fit.objective import open_objective
from segtrain.losses.consistency.sequence import ConvLSTM, frozen_encoder
from segtrain.losses.consistency.settings import FROZEN
from segtrain.losses.consistency.terms import ConsistentObjective
from segtrain.models.network import SegmentationNetwork
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network
from segtrain.trained import open_trained


def require_usable(config: FitConfig, training: SegmentationDataset) -> None:
    """Find out what consistency terms lack, before anything is begun.

    Raises: DataError where no sample has neighbours that are needed; FitError, MotionError, CheckpointError for a
    network, a motion or a teacher that cannot be used.
    """
    surroundings = config.surroundings
    samples = range(len(training.records))
    if surroundings.choices and not any(surroundings.possible(training.offsets_at(number)) for number in samples):
        asked = " or ".join(" and ".join(f"{offset:+d}" for offset in choice) for choice in surroundings.choices)
        raise DataError(
            f"no sample of {len(training.records)} has the neighbours that consistency terms need, at {asked} from its "
            "own frame; add the frames around the annotated ones, or give another --gap or --clip-frames"
        )
    if config.distills:
        features = ConsistentObjective(
            labels=open_objective(config, training.classes.train_names), settings=config
        ).features
        with torch.device("meta"):
            network = build_network(config.network, num_classes=1, output_stride=config.output_stride)
        require_no_border(network, features, "the network")
        DistillationTeacher(config, training.classes, open_runtime("cpu"), features)
    if config.temporal:
        open_estimator(config.motion_settings(device="cpu", dtype=config.dtype))


def with_flows(
    config: FitConfig, training: SegmentationDataset, on_progress: Callable[[Advance], None]
) -> SegmentationDataset:
    """The samples to train on, with the motion that is kept in a cache, if one is asked for: what it lacks is made.

    It is made here, by whoever begins the training, on its GPU if it has one, in float32 whatever the training is in.
    Raises: DataError where the cache cannot be used.
    """
    if config.flow_cache is None or not config.temporal:
        return training
    device = "cpu" if config.device == "cpu" else "auto"
    estimator = open_estimator(config.motion_settings(device=device, dtype="float32"))
    cache = FlowCache(config.flow_cache, estimator.fingerprint)
    fill(cache, training, config.surroundings, estimator, lambda line: on_progress(Advance(0, 0, line)))
    return WithFlows(training, cache)


class Student(nn.Module):
    """The network that is trained, and the encoder that is trained with it."""

    def __init__(self, network: SegmentationNetwork, encoder: ConvLSTM) -> None:
        super().__init__()
        self.network, self.encoder = network, encoder


class DistillationTeacher:
    """A network that stays as it is, in a dtype of its own."""

    def __init__(self, config: FitConfig, classes: ClassTable, runtime: Runtime, features: Sequence[str]) -> None:
        """Raises: CheckpointError, ParameterError for a file that cannot be used; FitError for unfit features."""
        assert config.teacher is not None
        self._runtime = replace(runtime, dtype=getattr(torch, config.teacher_dtype or config.dtype))
        architecture = config.teacher_architecture
        self._network = open_trained(config.teacher, self._runtime, architecture=architecture, classes=classes).network
        self._features = tuple(features)
        require_no_border(self._network, features, "the teacher")

    def __call__(self, frames: Sequence[Tensor]) -> tuple[dict[str, Tensor], ...]:
        """Its features of frames [B,3,H,W] uint8 RGB."""
        with torch.no_grad(), self._runtime.autocast():
            return tuple(self._network.features(normalised(frame), self._features) for frame in frames)


def require_no_border(network: SegmentationNetwork, features: Sequence[str], whose: str) -> None:
    """Raise FitError where a network's features surround the image, so that no other's lie at the same places."""
    if any(network.places(stage) is not None for stage in features):
        raise FitError(
            f"{whose}, {network.architecture}, sees a border around images, so that its features do not lie where "
            "those of other networks do; distillation takes another network"
        )


def open_encoder(config: FitConfig) -> ConvLSTM | None:
    """The encoder of sequences, where they are distilled."""
    if not config.distill_sequence:
        return None
    if config.sequence_encoder == FROZEN:
        return frozen_encoder(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ConvLSTM()


def motion_of(batch: Batch, estimator: MotionEstimator, device: torch.device) -> Batch:
    """The batch on a device, with the motion of its images to their neighbours, and which pixels both show.

    batch: on the host. The motion is that of the crops as they are, unless it was known beforehand; of seen pixels,
    those are left that show an image, and move to such.
    """
    assert batch.neighbours is not None
    assert batch.shown is not None
    if batch.flows is None:
        found = [seen_flow(batch.image, neighbour, estimator) for neighbour in batch.neighbours.unbind(1)]
        flows, seen = torch.stack([flow for flow, _ in found], 1), torch.cat([each for _, each in found], 1)
        batch = batch._replace(flows=flows, seen=seen)
    batch = batch.to(device)
    assert batch.flows is not None
    assert batch.seen is not None
    assert batch.shown is not None
    ends = torch.stack([_ends_in(batch.shown, flow) for flow in batch.flows.unbind(1)], 1)
    return batch._replace(seen=batch.seen & batch.shown[:, None] & ends)


def _ends_in(shown: Tensor, flow: Tensor) -> Tensor:
    """Which pixels move to such as are shown: shown [B,H,W] bool, flow [B,2,H,W] -> [B,H,W] bool."""
    return (warp_labels(shown[:, None], flow) & inside(flow))[:, 0]
