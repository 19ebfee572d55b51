"""The loss of labels, and beside it what neighbours and a teacher say: consistency in time, and distillation.

Of the frames that a step sees, the released code weighs those beside the annotated one by 1 in pairs and by 0.4 in
triplets, and adds up; here each term is a mean over frames, or pairs of them, so that its weight does not depend on how
many there are.

Reference: Liu et al., "Efficient Semantic Video Segmentation with Per-frame Inference", ECCV 2020.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from jobs.training.task import Losses
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
        if not output.neighbours:
            return Losses(total + self._nothing(), logged)
        for name, weight, term in self._terms(output):
            loss, more = term()
            total = total + weight * loss
            logged = {**logged, f"loss/{name}": (weight * loss).detach(), **more}
        return Losses(total, {**logged, "loss": total.detach(), **watched(output.logits)})

    def _terms(self, output: StepOutput) -> Iterator[tuple[str, float, Callable[[], tuple[Tensor, dict[str, Tensor]]]]]:
        settings = self.settings
        plain: dict[str, Callable[[StepOutput], Tensor]] = {
            "temporal": self._temporal,
            "distill_frame": self._frames,
            "distill_pairs": self._pairs,
            "distill_similarity": self._similarity,
        }
        for name, term in plain.items():
            if weight := getattr(settings, name):
                yield name, weight, lambda term=term: (term(output), {})  # type: ignore[misc]
        if settings.distill_sequence:
            yield "distill_sequence", settings.distill_sequence, lambda: self._sequence(output)

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

    def _frames(self, output: StepOutput) -> Tensor:
        of_frame = published_frame_loss if self.settings.consistency_as_published else frame_loss
        seen = zip(_students(output, SCORES), _teachers(output, SCORES), strict=True)
        return self._over_frames([of_frame(student, teacher) for student, teacher in seen])

    def _pairs(self, output: StepOutput) -> Tensor:
        of_pair = published_pair_loss if self.settings.consistency_as_published else pair_loss
        student, *students = _students(output, SCORES)
        teacher, *teachers = _teachers(output, SCORES)
        others = zip(students, teachers, strict=True)
        return self._over_pairs(
            [of_pair(student, by_student, teacher, by_teacher) for by_student, by_teacher in others]
        )

    def _similarity(self, output: StepOutput) -> Tensor:
        of_frame = published_similarity_loss if self.settings.consistency_as_published else similarity_loss
        seen = zip(_students(output, FEATURES), _teachers(output, FEATURES), strict=True)
        return self._over_frames([of_frame(as_large_as(student, teacher), teacher) for student, teacher in seen])

    def _sequence(self, output: StepOutput) -> tuple[Tensor, dict[str, Tensor]]:
        settings, encoder = self.settings, self.encoder
        assert encoder is not None
        if settings.sequence_encoder == TRAINED:
            encoder.clip(settings.sequence_range)
        seen = [
            (as_large_as(student, teacher), teacher)
            for student, teacher in zip(_students(output, FEATURES), _teachers(output, FEATURES), strict=True)
        ]
        annotated, before, after = (
            tuple(self_maps(features, settings.sequence_pool) for features in frame) for frame in seen
        )
        students, teachers = zip(before, annotated, after, strict=True)
        found = sequence_loss(encoder, students, teachers)
        loss = found.loss
        if settings.sequence_encoder == TRAINED:
            loss = loss + settings.sequence_enlarge * found.regulariser
        return loss, {"watch/teacher_variance": found.variance}

    def _over_pairs(self, losses: Sequence[Tensor]) -> Tensor:
        total = torch.stack(list(losses)).sum()
        return total if self.settings.consistency_as_published else total / len(losses)

    def _over_frames(self, losses: Sequence[Tensor]) -> Tensor:
        annotated, *beside = losses
        if self.settings.consistency_as_published:
            weight = 1.0 if len(beside) == 1 else PUBLISHED_BESIDE
            return annotated + weight * torch.stack(beside).sum()
        return torch.stack([annotated, *beside]).mean()

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


def _students(output: StepOutput, stage: str) -> list[Tensor]:
    """Of the annotated frames, then of their neighbours."""
    return [output.features[stage], *(neighbour.features[stage] for neighbour in output.neighbours)]


def _teachers(output: StepOutput, stage: str) -> list[Tensor]:
    outputs: Sequence[NetworkOutput] = output.teacher
    return [each.features[stage] for each in outputs]
