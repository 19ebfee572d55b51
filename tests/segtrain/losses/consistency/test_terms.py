"""The terms beside the loss of labels: which count, with what weight, of which frames; and what is watched."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from segtrain.data.batches import Batch
from segtrain.losses.consistency.distillation import as_large_as, frame_loss, published_frame_loss
from segtrain.losses.consistency.pairs import pair_loss, published_pair_loss
from segtrain.losses.consistency.sequence import ConvLSTM, frozen_encoder, self_maps, sequence_loss
from segtrain.losses.consistency.settings import ConsistencySettings
from segtrain.losses.consistency.similarity import similarity_loss
from segtrain.losses.consistency.temporal import (
    published_temporal_loss,
    published_visibility,
    temporal_loss,
    visibility,
)
from segtrain.losses.consistency.terms import ConsistentObjective, watched
from segtrain.losses.objective import StepOutput
from segtrain.losses.registry import LOSSES
from segtrain.losses.settings import LossSettings
from segtrain.models.network import NetworkOutput
from segtrain.models.preprocessing import normalised

LABELS = LOSSES["cross-entropy"](LossSettings())
SIZE = (32, 48)
DISTILLED = ("distill_frame", "distill_pairs", "distill_similarity", "distill_sequence")


def seen_by(generator: torch.Generator, channels: int, stride: int) -> NetworkOutput:
    height, width = SIZE
    decoder = torch.randn(2, 4, height // stride, width // stride, generator=generator, requires_grad=True)
    context = torch.randn(2, channels, height // stride, width // stride, generator=generator, requires_grad=True)
    logits = torch.randn(2, 4, height, width, generator=generator, requires_grad=True)
    return NetworkOutput(logits, {}, {"decoder": decoder, "context": context})


def step(num_neighbours: int = 2) -> StepOutput:
    """Random frames, what a student and a teacher of other features make of them, and a motion."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 1 + num_neighbours, 3, *SIZE), generator=generator, dtype=torch.uint8)
    annotated, *neighbours = (seen_by(generator, 6, 4) for _ in range(1 + num_neighbours))
    teacher = tuple(seen_by(generator, 10, 8).features for _ in range(1 + num_neighbours))
    label = torch.randint(0, 4, (2, *SIZE), generator=generator, dtype=torch.uint8)
    return StepOutput(
        **annotated._asdict(),
        neighbours=tuple(neighbours),
        teacher=teacher,
        flows=torch.randn(2, num_neighbours, 2, *SIZE, generator=generator),
        seen=torch.rand(2, num_neighbours, *SIZE, generator=generator) > 0.3,
        batch=Batch(frames[:, 0], label, frames[:, 1:]),
        epoch=0,
    )


def objective(**settings: Any) -> ConsistentObjective:
    if any(settings.get(name) for name in DISTILLED):
        settings |= {"teacher": "teacher.safetensors"}
    if settings.get("distill_sequence"):
        settings = {"clip_frames": 3, "sequence_pool": 2, **settings}
    encoder = None
    if settings.get("distill_sequence"):
        encoder = ConvLSTM() if settings.get("sequence_encoder") == "trained" else frozen_encoder()
    return ConsistentObjective(labels=LABELS, settings=ConsistencySettings(**settings), encoder=encoder)


def added(output: StepOutput, **settings: Any) -> Tensor:
    """What the terms add to the loss of the labels."""
    return objective(**settings)(output).total - LABELS(output).total


def of_pair(output: StepOutput, number: int, *, as_published: bool = False) -> Tensor:
    assert output.flows is not None
    assert output.seen is not None
    assert output.batch.neighbours is not None
    image, other = normalised(output.batch.image), normalised(output.batch.neighbours[:, number])
    flow, logits = output.flows[:, number], output.neighbours[number].logits
    if as_published:
        agreement = published_visibility(image, other, flow)
        return published_temporal_loss(output.logits, logits, flow, agreement)
    return temporal_loss(output.logits, logits, flow, visibility(image, other, flow), output.seen[:, number])


def test_the_temporal_loss_is_a_mean_over_pairs_and_as_published_their_sum() -> None:
    output = step()
    torch.testing.assert_close(
        added(output, temporal=0.5), 0.25 * (of_pair(output, 0) + of_pair(output, 1)), rtol=1e-5, atol=1e-6
    )
    published = of_pair(output, 0, as_published=True) + of_pair(output, 1, as_published=True)
    torch.testing.assert_close(
        added(output, temporal=0.5, consistency_as_published=True), 0.5 * published, rtol=1e-5, atol=1e-6
    )


def test_a_detached_neighbour_is_left_as_it_is() -> None:
    for detach in (False, True):
        output = step(1)
        objective(temporal=1.0, detach=detach)(output).total.backward()
        assert output.logits.grad is not None
        assert (output.neighbours[0].logits.grad is None) == detach


@pytest.mark.parametrize(("num_neighbours", "weight"), [(1, 1.0), (2, 0.4)])
def test_frames_and_pairs_are_means_and_as_published_weighted_sums(num_neighbours: int, weight: float) -> None:
    output = step(num_neighbours)
    students = [output.features, *(each.features for each in output.neighbours)]
    teachers = output.teacher
    scores = [(s["decoder"], t["decoder"]) for s, t in zip(students, teachers, strict=True)]
    frames = torch.stack([frame_loss(*each) for each in scores]).mean()
    torch.testing.assert_close(added(output, distill_frame=2.0), 2 * frames, rtol=1e-5, atol=1e-5)
    first, *others = (published_frame_loss(*each) for each in scores)
    published = first + weight * torch.stack(others).sum()
    found = added(output, distill_frame=2.0, consistency_as_published=True)
    torch.testing.assert_close(found, 2 * published, rtol=1e-5, atol=1e-5)

    (student, teacher), *beside = scores
    pairs = torch.stack([pair_loss(student, s, teacher, t) for s, t in beside]).mean()
    torch.testing.assert_close(added(output, distill_pairs=2.0), 2 * pairs, rtol=1e-5, atol=1e-5)
    contexts = [(s["context"], t["context"]) for s, t in zip(students, teachers, strict=True)]
    likeness = torch.stack([similarity_loss(as_large_as(s, t), t) for s, t in contexts]).mean()
    torch.testing.assert_close(added(output, distill_similarity=2.0), 2 * likeness, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoding", ["frozen", "trained"])
def test_sequences_are_in_the_order_of_time_and_a_trained_encoder_is_to_tell_them_apart(encoding: str) -> None:
    output = step()
    each = objective(distill_sequence=2.0, sequence_encoder=encoding, sequence_enlarge=0.25)
    assert each.encoder is not None
    found = each(output).total - LABELS(output).total
    maps = [
        (self_maps(as_large_as(s["context"], t["context"]), 2), self_maps(t["context"], 2))
        for s, t in zip([output.features, *(n.features for n in output.neighbours)], output.teacher, strict=True)
    ]
    in_time = [maps[1], maps[0], maps[2]]  # the neighbours are the frames before and after
    expected = sequence_loss(each.encoder, *([frame[of] for frame in in_time] for of in (0, 1)))
    enlarged = 0.25 * expected.regulariser if encoding == "trained" else 0.0
    torch.testing.assert_close(found, 2 * (expected.loss + enlarged), rtol=1e-5, atol=1e-5)


def test_a_published_pair_is_of_a_student_as_large_as_its_teacher() -> None:
    """Here the student's places are four times as many."""
    output = step(1)
    students = [output.features["decoder"], output.neighbours[0].features["decoder"]]
    teachers = [each["decoder"] for each in output.teacher]
    expected = published_pair_loss(*map(as_large_as, students, teachers), *teachers)
    found = added(output, distill_pairs=1.0, consistency_as_published=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_student_that_is_its_teacher_is_taught_nothing() -> None:
    output = step()
    output = replace(output, teacher=(output.features, *(each.features for each in output.neighbours)))
    settings: dict[str, Any] = dict.fromkeys(DISTILLED, 1.0)
    assert added(output, **settings).item() == pytest.approx(0, abs=1e-5)


def test_a_sample_without_neighbours_counts_by_itself_alone() -> None:
    """It brings copies of itself: neither pairs nor sequences are of them, nor is a distillation of neighbours."""
    output = step()
    shown = torch.zeros(2, *SIZE, dtype=torch.bool)
    shown[1, 4:, :] = True
    mixed = replace(output, batch=output.batch._replace(shown=shown))
    second = replace(
        output,
        logits=output.logits[1:],
        features={name: each[1:] for name, each in output.features.items()},
        neighbours=tuple(
            NetworkOutput(each.logits[1:], {}, {name: part[1:] for name, part in each.features.items()})
            for each in output.neighbours
        ),
        teacher=tuple({name: part[1:] for name, part in each.items()} for each in output.teacher),
        flows=output.flows[1:],  # type: ignore[index]
        seen=output.seen[1:],  # type: ignore[index]
        batch=Batch(*(None if each is None else each[1:] for each in output.batch)),  # type: ignore[arg-type]
    )
    for name in ("temporal", "distill_pairs", "distill_sequence"):
        torch.testing.assert_close(added(mixed, **{name: 1.0}), added(second, **{name: 1.0}), rtol=1e-4, atol=1e-5)
    alone = replace(output, batch=output.batch._replace(shown=torch.zeros_like(shown)))
    assert added(alone, temporal=1.0, distill_pairs=1.0).item() == 0
    single = replace(output, neighbours=(), teacher=output.teacher[:1])
    torch.testing.assert_close(added(alone, distill_frame=1.0), added(single, distill_frame=1.0, clip_frames=1))
    assert added(single, distill_frame=1.0, clip_frames=1).item() > 0


def test_one_sequence_has_no_variance() -> None:
    output = step()
    shown = torch.zeros(2, *SIZE, dtype=torch.bool)
    shown[0] = True
    losses = objective(distill_sequence=1.0)(replace(output, batch=output.batch._replace(shown=shown)))
    assert "watch/teacher_variance" not in losses.terms
    assert losses.terms["loss/distill_sequence"] > 0


def test_without_neighbours_only_labels_count() -> None:
    output = replace(step(), neighbours=(), teacher=(), flows=None, seen=None)
    losses, labels = objective(temporal=1.0, distill_frame=1.0)(output), LABELS(output)
    assert losses.total == labels.total
    assert losses.terms == labels.terms


def test_a_trained_encoder_stays_within_its_range_and_always_has_a_gradient() -> None:
    settings = {"distill_sequence": 1.0, "sequence_encoder": "trained", "sequence_range": 0.01}
    each = objective(**settings)
    assert each.encoder is not None
    losses = each(step())
    assert all(parameter.abs().max() <= 0.01 for parameter in each.encoder.parameters())
    losses.total.backward()
    assert each.encoder.Gates.weight.grad is not None
    assert each.encoder.Gates.weight.grad.any()
    each.encoder.zero_grad()
    each(replace(step(), neighbours=(), teacher=())).total.backward()
    assert each.encoder.Gates.weight.grad is not None
    assert not each.encoder.Gates.weight.grad.any()


def test_a_collapse_of_the_encoder_shows() -> None:
    settings = {"distill_sequence": 1.0, "sequence_encoder": "trained", "sequence_enlarge": 0.0}
    sound, collapsed = objective(**settings), objective(**settings, sequence_range=0.0)
    assert sound(step()).terms["watch/teacher_variance"] > 1e-6
    losses = collapsed(step())
    assert losses.terms["watch/teacher_variance"] == 0
    assert losses.terms["loss/distill_sequence"] == 0
    frozen = objective(distill_sequence=1.0)
    assert frozen(step()).terms["watch/teacher_variance"] > 0.01


def test_what_is_watched_tells_sure_from_unsure_and_one_class_from_many() -> None:
    unsure = watched(torch.zeros(1, 4, 16, 16))
    assert unsure["watch/entropy"].item() == pytest.approx(math.log(4))
    assert unsure["watch/logit_norm"] == 0
    assert unsure["watch/classes"] == 1
    sure = torch.full((1, 4, 16, 16), -30.0)
    sure[:, 1, :, :8], sure[:, 2, :, 8:] = 30.0, 30.0
    found = watched(sure)
    assert found["watch/entropy"].item() == pytest.approx(0, abs=1e-6)
    assert found["watch/classes"] == 2
    assert found["watch/logit_norm"].item() == pytest.approx(60)


def test_it_asks_for_the_features_that_its_terms_compare() -> None:
    assert objective(temporal=1.0).features == ()
    assert objective(distill_frame=1.0).features == ("decoder",)
    assert objective(distill_pairs=1.0, distill_sequence=1.0).features == ("decoder", "context")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distill_pairs": 1.0}, "distill_pairs learns from a teacher, and there is none; give --teacher"),
        ({"teacher": "t.pth"}, "a teacher of whom nothing is learnt; give a weight, such as --distill-frame 0.1"),
        ({"distill_sequence": 1.0, "teacher": "t.pth"}, "distill_sequence needs clips of 3 frames, found 2"),
        ({"temporal": 1.0, "clip_frames": 1}, "temporal needs neighbours; give --clip-frames 2 or 3"),
        ({"temporal": math.inf}, "weights of consistency terms must be finite"),
        ({"consistency_from": 5, "consistency_until": 4}, "from epoch 5 until 4: never"),
        ({"motion": "sdcnet"}, "motion 'sdcnet' is made of two frames before; choose another, such as --motion dis"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConsistencySettings(**settings)


def test_terms_count_in_the_epochs_that_they_are_asked_for() -> None:
    settings = ConsistencySettings(temporal=1.0, consistency_from=2, consistency_until=3)
    assert [settings.is_on(epoch) for epoch in range(6)] == [False, False, True, True, False, False]
    assert not ConsistencySettings().is_on(0)
