"""Objectives: what they make of a step's output, auxiliary ones too, and the names that losses go by."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jobs.errors import FitError, UnknownNameError
from segtrain.config import FitConfig
from segtrain.data.batches import Batch
from segtrain.fit.objective import open_objective, surroundings_of
from segtrain.losses.cross_entropy import cross_entropy, image_weighted_cross_entropy, ohem_cross_entropy
from segtrain.losses.objective import LabelObjective, StepOutput
from segtrain.losses.registry import LOSSES, PUBLISHED_LOSSES
from segtrain.losses.relaxed import RelaxedLoss
from segtrain.losses.settings import LossSettings
from segtrain.losses.weighting import ClassWeighting

NAMES = ("road", "pole", "car")


def step(auxiliary: dict[str, Tensor] | None = None, epoch: int = 0) -> StepOutput:
    """Of two frames of 8x12 pixels, of three classes and ignored ones."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (2, 4, 3), generator=generator).repeat_interleave(2, 1).repeat_interleave(4, 2)
    label = label.masked_fill(label == 3, 255).to(torch.uint8)
    return StepOutput(
        logits=torch.randn(2, 3, 8, 12, generator=generator).requires_grad_(),
        auxiliary=auxiliary or {},
        batch=Batch(torch.zeros(2, 3, 8, 12, dtype=torch.uint8), label),
        epoch=epoch,
    )


def config(**settings: object) -> FitConfig:
    return FitConfig(out=Path("run"), root=Path("data"), **settings)  # type: ignore[arg-type]


def test_an_objective_of_labels_costs_its_loss_to_the_bit() -> None:
    weighting = ClassWeighting(upper_bound=0.5)
    losses = {
        "relaxed": RelaxedLoss(
            border=2, strict_classes=(1,), relax_until=3, weighting=weighting, mean_over_images=True
        ),
        "cross-entropy": lambda logits, labels, _: cross_entropy(logits, labels),
        "image-weighted": lambda logits, labels, _: image_weighted_cross_entropy(
            logits, labels, weighting=weighting, mean_over_images=True
        ),
        "ohem": lambda logits, labels, _: ohem_cross_entropy(logits, labels),
    }
    assert losses.keys() == set(LOSSES)
    for name, loss in losses.items():
        settings = config(loss=name, border=2, strict_classes=("pole",), relax_until=3, class_weight=0.5)
        objective = open_objective(settings, NAMES)
        for epoch in (3, 4):
            output = step(epoch=epoch)
            total, terms = objective(output)
            assert total == loss(output.logits, output.batch.label, epoch)
            assert terms == {"loss": total}
            assert not terms["loss"].requires_grad
        assert objective.offsets == objective.features == ()


def test_ohem_leaves_out_what_is_easy() -> None:
    label = torch.zeros(1, 400, 400, dtype=torch.uint8)
    logits = torch.zeros(1, 3, 400, 400)
    logits[:, 0, 300:] = 9  # three quarters of 160,000 pixels are hard
    output = StepOutput(logits=logits, batch=Batch(label, label), epoch=0)
    assert LOSSES["ohem"](LossSettings())(output).total.item() == pytest.approx(torch.tensor(3.0).log().item())


def test_auxiliary_outputs_are_trained_on_the_same_labels_at_their_size() -> None:
    deep, early = torch.randn(2, 3, 2, 3, requires_grad=True), torch.randn(2, 3, 8, 12, requires_grad=True)
    output = step({"deep": deep, "early": early})
    label = output.batch.label
    enlarged = F.interpolate(deep, size=(8, 12), mode="bilinear", align_corners=True)
    auxiliary = 0.25 * (cross_entropy(enlarged, label) + cross_entropy(early, label))
    total, terms = open_objective(config(loss="cross-entropy", auxiliary=0.25), NAMES)(output)
    torch.testing.assert_close(total, cross_entropy(output.logits, label) + auxiliary)
    assert terms.keys() == {"loss", "loss/auxiliary"}
    assert terms["loss"] == total
    assert terms["loss/auxiliary"] == pytest.approx(auxiliary.item())
    assert not any(term.requires_grad for term in terms.values())
    total.backward()
    assert deep.grad is not None
    assert deep.grad.any()


@pytest.mark.parametrize("name", PUBLISHED_LOSSES)
def test_published_losses_take_auxiliary_outputs_in_pairs_too(name: str) -> None:
    output = step({"early": torch.randn(2, 3, 8, 12)})
    objective = LOSSES[name](LossSettings(as_published=True, auxiliary=1.0))
    total = objective(replace(output, auxiliary={})).total
    total = total + objective(replace(output, logits=output.auxiliary["early"], auxiliary={})).total
    torch.testing.assert_close(objective(output).total, total)


def test_an_unknown_loss_is_an_error_that_names_the_nearest() -> None:
    message = "no loss 'relaxd'; known are relaxed, cross-entropy, image-weighted, ohem; did you mean 'relaxed'?"
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        config(loss="relaxd")
    with pytest.raises(UnknownNameError, match="did you mean 'ohem'"):
        LOSSES["ohm"]


@pytest.mark.parametrize("name", ["cross-entropy", "ohem"])
def test_classes_weigh_what_is_said_by_their_names_and_the_others_1(name: str) -> None:
    output, loss = step(), {"cross-entropy": cross_entropy, "ohem": ohem_cross_entropy}[name]
    objective = open_objective(config(loss=name, class_weights={"car": 3.0, "road": 0.5}), NAMES)
    expected = loss(output.logits, output.batch.label, class_weights=(0.5, 1.0, 3.0))
    assert objective(output).total == expected != loss(output.logits, output.batch.label)


def test_what_classes_weigh_says_nothing_of_neighbours() -> None:
    assert surroundings_of(config(loss="ohem", class_weights={"car": 3.0}, strict_classes=("car",))).choices == ()


def test_classes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(FitError, match="class_weights: no classes rider; there are road, pole, car"):
        open_objective(config(loss="ohem", class_weights={"rider": 2.0}), NAMES)
    with pytest.raises(FitError, match="strict_classes: no classes rider; there are road, pole, car"):
        open_objective(config(strict_classes=("rider",)), NAMES)


def test_names_of_losses_need_no_torch() -> None:
    code = "import sys; from segtrain.losses.registry import LOSSES; list(LOSSES); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_auxiliary_outputs_weigh_two_fifths_of_their_sum_unless_told_otherwise() -> None:
    ones = torch.ones(2, 3, 4, 6)
    losses = LabelObjective(loss=lambda logits, *_: logits.mean())(step({"a": ones, "b": 2 * ones}))
    assert losses.terms["loss/auxiliary"].item() == pytest.approx(0.4 * (1 + 2))
