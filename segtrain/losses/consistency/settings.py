"""The settings of losses that look at a frame's neighbours and at a teacher; no PyTorch is needed to know them."""

from dataclasses import dataclass
from math import inf
from pathlib import Path

from jobs.console.settings import setting, setting_of
from jobs.training.devices import RuntimeSettings
from segtrain.data.motion_settings import PairMotionSettings
from segtrain.data.surroundings import NO_NEIGHBOURS, Surroundings, around
from segtrain.models.registry import NETWORKS

SHARED, NONE, APART = DROPOUTS = ("shared", "none", "apart")
FROZEN, TRAINED = ENCODERS = ("frozen", "trained")
TERMS = ("temporal", "distill_frame", "distill_pairs", "distill_sequence", "distill_similarity")
OF_NEIGHBOURS = ("temporal", "distill_pairs", "distill_sequence")  # the others are of single frames, neighbours too


@dataclass(frozen=True, kw_only=True)
class ConsistencySettings(PairMotionSettings):
    """Terms beside the loss of the labels, each with its weight, 0 for none.

    Raises: ValueError for settings that make no sense.
    Reference: Liu et al., "Efficient Semantic Video Segmentation with Per-frame Inference", ECCV 2020.
    """

    temporal: float = setting(0.0, "Weight: predictions agree with a neighbour's, carried along the motion.", least=0)
    distill_frame: float = setting(0.0, "Weight: each pixel's classes as the teacher scores them.", least=0)
    distill_pairs: float = setting(0.0, "Weight: likeness of all places of two frames as to the teacher.", least=0)
    distill_sequence: float = setting(0.0, "Weight: likeness within frames, over a sequence of them.", least=0)
    distill_similarity: float = setting(0.0, "Weight: likeness of all places within each frame.", least=0)
    teacher: Path | None = setting(
        None, "What distillation learns from: a file of `segtrain fit`, or a published one, of the same classes."
    )
    teacher_architecture: str | None = setting(
        None, "Which network a published teacher is.", choices=NETWORKS, otherwise="as the file says, if it is ours"
    )
    teacher_dtype: str | None = setting_of(
        RuntimeSettings, "dtype", default=None, help="Of the teacher's activations.", otherwise="as --dtype"
    )
    clip_frames: int = setting(
        2, "Frames a step sees of each sample: alone, with a neighbour, or with one on each side.", choices=(1, 2, 3)
    )
    gap: int = setting(3, "Neighbours are at most so many frames away; each distance is as likely.", least=1)
    detach: bool = setting(False, "temporal: let gradients change the annotated frame's prediction alone.")
    consistency_dropout: str = setting(
        SHARED, "Drop the same channels of all frames of a sample, none, or others of each.", choices=DROPOUTS
    )
    consistency_from: int = setting(0, "The first epoch with these terms, counted from 0.", least=0)
    consistency_until: int | None = setting(None, "The last epoch with them.", otherwise="all", least=0)
    sequence_encoder: str = setting(
        FROZEN, "distill-sequence: the ConvLSTM stays as it was drawn, or is trained as well.", choices=ENCODERS
    )
    sequence_pool: int = setting(
        16, "distill-sequence: places, along both sides, of the features that are compared as one.", least=1
    )
    sequence_range: float = setting(0.5, "trained: its weights stay within ± this.", least=0)
    sequence_enlarge: float = setting(0.1, "trained: weight of the teacher's embedding being large.", least=0)
    consistency_as_published: bool = setting(False, "Exactly the released forms of these terms, defects included.")
    flow_cache: Path | None = setting(
        None,
        "Estimate the motion between all frames once, into this folder, before the training.",
        otherwise="in each step, of the crops",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(getattr(self, name) < inf for name in TERMS):
            raise ValueError("weights of consistency terms must be finite")
        if self.distills and self.teacher is None:
            given = next(name for name in TERMS[1:] if getattr(self, name))
            raise ValueError(f"{given} learns from a teacher, and there is none; give --teacher")
        if self.teacher is not None and not self.distills:
            raise ValueError("a teacher of whom nothing is learnt; give a weight, such as --distill-frame 0.1")
        if self.clip_frames == 1 and (needy := [name for name in OF_NEIGHBOURS if getattr(self, name)]):
            raise ValueError(f"{needy[0]} needs neighbours; give --clip-frames 2 or 3")
        if self.distill_sequence and self.clip_frames != 3:
            raise ValueError(
                f"distill_sequence needs clips of 3 frames, found {self.clip_frames}; give --clip-frames 3"
            )
        if self.consistency_until is not None and self.consistency_until < self.consistency_from:
            raise ValueError(
                f"consistency is from epoch {self.consistency_from} until {self.consistency_until}: never; give an "
                "earlier --consistency-from"
            )

    @property
    def distills(self) -> bool:
        return any(getattr(self, name) for name in TERMS[1:])

    @property
    def is_consistent(self) -> bool:
        """Whether there is any of these terms."""
        return self.distills or bool(self.temporal)

    @property
    def surroundings(self) -> Surroundings:
        """What the terms want to see."""
        return around(self.gap, self.clip_frames) if self.is_consistent and self.clip_frames > 1 else NO_NEIGHBOURS

    def is_on(self, epoch: int) -> bool:
        """Whether the terms count in an epoch."""
        is_over = self.consistency_until is not None and epoch > self.consistency_until
        return self.is_consistent and epoch >= self.consistency_from and not is_over
