"""The loss of labels, and beside it what neighbours and a teacher say: consistency in time, and distillation.

Of the frames that a step sees, the released code weighs those beside the annotated one by 1 in pairs and by 0.4 in
triplets, and adds up; here each term is a mean over frames, or pairs of them, so that its weight does not depend on how
many there are.

Reference: Liu et al., "Efficient Semantic Video Segmentation with Per-frame Inference", ECCV 2020.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from jobs.training.task import Losses
from segtrain.data.batches import Batch
from segtrain.losses.consistency.distillation import as_large_as, frame_loss, published_frame_loss
from segtrain.losses.consistency.pairs import pair_loss, published_pair_loss
from segtrain.losses.consistency.sequence import ConvLSTM, self_maps, sequence_loss
from segtrain.losses.consistency.settings import TRAINED, ConsistencySettings
from segtrain.losses.consistency.similarity import published_similarity_loss, similarity_loss
from segtrain.losses.consistency.temporal import (
    published_temporal_loss,
    published_visibility,
    temporal_loss,
    visibility,
)
from segtrain.losses.objective import Objective, StepOutput
from segtrain.models.network import NetworkOutput
from segtrain.models.preprocessing import normalised

SCORES, FEATURES = "decoder", "context"  # the stages that frames and pairs, and that sequences are compared by
PUBLISHED_BESIDE = 0.4  # how a frame beside the annotated one counts in the released triplets
WATCHED_EVERY = 4  # pixels along both sides: enough to see a collapse


@dataclass(frozen=True, kw_only=True)
class ConsistentObjective:
    """See `objective.Objective`: `labels`, and the terms of the settings where a step saw neighbours.

    encoder: of sequences, where they are distilled; one that is trained is kept within its range from here.
    """

    labels: Objective
    settings: ConsistencySettings
    encoder: ConvLSTM | None = None
    offsets: ClassVar[tuple[int, ...]] = ()

    @property
    def features(self) -> tuple[str, ...]:
        settings = self.settings
        wanted = {
            SCORES: settings.distill_frame or settings.distill_pairs,
            FEATURES: settings.distill_sequence or settings.distill_similarity,
        }
        return tuple(dict.fromkeys((*self.labels.features, *(name for name, weight in wanted.items() if weight))))

    def __call__(self, output: StepOutput) -> Losses:
        """The sum, of which "loss/…" are the weighted terms; "watch/…" tells of a student that becomes trivial."""
        total, logged = self.labels(output)
        total = total + self._nothing()
        if not (output.neighbours or output.teacher):
            return Losses(total, logged)
        for name, term in self._terms(output):
            weight: float = getattr(self.settings, name)
            if weight:
                loss, more = term()
                total = total + weight * loss
                logged = {**logged, f"loss/{name}": (weight * loss).detach(), **more}
        return Losses(total, {**logged, "loss": total.detach(), **watched(output.logits)})

    def _terms(self, output: StepOutput) -> Iterator[tuple[str, Callable[[], tuple[Tensor, dict[str, Tensor]]]]]:
        paired = with_neighbours(output)
        yield "distill_frame", lambda: (self._frames(output, paired), {})
        yield "distill_similarity", lambda: (self._similarity(output, paired), {})
        if paired is not None:
            yield "temporal", lambda: (self._temporal(paired), {})
            yield "distill_pairs", lambda: (self._pairs(paired), {})
            yield "distill_sequence", lambda: self._sequence(paired)

    def _temporal(self, output: StepOutput) -> Tensor:
        image = normalised(output.batch.image)
        assert output.flows is not None
        assert output.seen is not None
        assert output.batch.neighbours is not None
        losses = []
        for number, neighbour in enumerate(output.neighbours):
            other = normalised(output.batch.neighbours[:, number])
            flow, seen = output.flows[:, number], output.seen[:, number]
            logits = neighbour.logits.detach() if self.settings.detach else neighbour.logits
            if self.settings.consistency_as_published:
                agreement = published_visibility(image, other, flow)
                losses.append(published_temporal_loss(output.logits, logits, flow, agreement))
            else:
                losses.append(temporal_loss(output.logits, logits, flow, visibility(image, other, flow), seen))
        return self._over_pairs(losses)

    def _frames(self, output: StepOutput, paired: StepOutput | None) -> Tensor:
        of_frame = published_frame_loss if self.settings.consistency_as_published else frame_loss
        return self._over_frames(output, paired, SCORES, of_frame)

    def _pairs(self, output: StepOutput) -> Tensor:
        of_pair = published_pair_loss if self.settings.consistency_as_published else pair_loss
        (student, teacher), *others = of_both(output, SCORES)
        return self._over_pairs([of_pair(student, beside, teacher, learnt_from) for beside, learnt_from in others])

    def _similarity(self, output: StepOutput, paired: StepOutput | None) -> Tensor:
        of_frame = published_similarity_loss if self.settings.consistency_as_published else similarity_loss
        return self._over_frames(output, paired, FEATURES, of_frame)

    def _sequence(self, output: StepOutput) -> tuple[Tensor, dict[str, Tensor]]:
        settings, encoder = self.settings, self.encoder
        assert encoder is not None
        if settings.sequence_encoder == TRAINED:
            encoder.clip(settings.sequence_range)
        annotated, before, after = (
            tuple(self_maps(features, settings.sequence_pool) for features in frame)
            for frame in of_both(output, FEATURES)
        )
        students, teachers = zip(before, annotated, after, strict=True)
        found = sequence_loss(encoder, students, teachers)
        loss = found.loss
        if settings.sequence_encoder == TRAINED:
            loss = loss + settings.sequence_enlarge * found.regulariser
        is_one = len(found.embedding) < 2  # of whose embedding there is no variance
        return loss, {} if is_one else {"watch/teacher_variance": found.variance}

    def _over_pairs(self, losses: Sequence[Tensor]) -> Tensor:
        total = torch.stack(list(losses)).sum()
        return total if self.settings.consistency_as_published else total / len(losses)

    def _over_frames(
        self,
        output: StepOutput,
        paired: StepOutput | None,
        stage: str,
        of_frame: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Of all annotated frames, and of the neighbours that there are."""
        annotated, *_ = of_both(output, stage)
        _, *beside = of_both(paired, stage) if paired is not None else [annotated]
        losses = [of_frame(*each) for each in (annotated, *beside)]
        if not self.settings.consistency_as_published:
            return torch.stack(losses).mean()
        weight = 1.0 if len(output.neighbours) == 1 else PUBLISHED_BESIDE
        return losses[0] + weight * sum(losses[1:], torch.zeros_like(losses[0]))

    def _nothing(self) -> Tensor | float:
        """0, of what a trained encoder is: a crew waits for the gradients of all that is trained."""
        if self.encoder is None or self.settings.sequence_encoder != TRAINED:
            return 0.0
        return 0.0 * sum(parameter.sum() for parameter in self.encoder.parameters())


@torch.no_grad()
def watched(logits: Tensor) -> dict[str, Tensor]:
    """What tells predictions that agree since they are good from those that say nothing: of logits [B,C,H,W].

    The mean entropy of the classes' probabilities in nats, the mean length of the logits of a pixel, and how many
    classes are predicted anywhere.
    """
    some = logits[:, :, ::WATCHED_EVERY, ::WATCHED_EVERY].float()
    log_probabilities = some.log_softmax(1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(1).mean()
    classes = torch.bincount(some.argmax(1).flatten(), minlength=some.shape[1]).count_nonzero()
    return {"watch/entropy": entropy, "watch/logit_norm": some.norm(dim=1).mean(), "watch/classes": classes.float()}


def with_neighbours(output: StepOutput) -> StepOutput | None:
    """The same of those samples of the batch that have neighbours; the others bring copies of themselves."""
    if not output.neighbours:
        return None
    shown = output.batch.shown
    there = None if shown is None else shown.flatten(1).any(1).cpu()
    if there is None or there.all():
        return output
    if not there.any():
        return None
    rows = there.nonzero()[:, 0].to(output.logits.device)

    def some(each: Tensor) -> Tensor:
        return each[rows]

    return replace(
        output,
        logits=some(output.logits),
        features={name: some(each) for name, each in output.features.items()},
        neighbours=tuple(
            NetworkOutput(some(each.logits), {}, {name: some(part) for name, part in each.features.items()})
            for each in output.neighbours
        ),
        teacher=tuple({name: some(part) for name, part in each.items()} for each in output.teacher),
        flows=None if output.flows is None else some(output.flows),
        seen=None if output.seen is None else some(output.seen),
        batch=Batch(*(None if each is None else some(each) for each in output.batch)),  # type: ignore[arg-type]
    )


def of_both(output: StepOutput, stage: str) -> list[tuple[Tensor, Tensor]]:
    """A stage's features of student and teacher, of annotated frames, then of the others; as large as the teacher's."""
    students = [output.features, *(neighbour.features for neighbour in output.neighbours)]
    frames = zip(students, output.teacher, strict=True)
    return [(as_large_as(student[stage], teacher[stage]), teacher[stage]) for student, teacher in frames]
