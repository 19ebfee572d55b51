"""What pixels weigh in the losses: 1 is nothing at all, 0 is ignored, and each part of a batch costs its share."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from jobs.errors import FitError
from segtrain.data.batches import Batch
from segtrain.losses.cross_entropy import cross_entropy, image_weighted_cross_entropy, ohem_cross_entropy
from segtrain.losses.objective import StepOutput, any_epoch
from segtrain.losses.registry import LOSSES, PUBLISHED_LOSSES
from segtrain.losses.relaxed import RelaxedLoss
from segtrain.losses.settings import LossSettings
from segtrain.losses.weighting import ClassWeighting, count_classes

SETTINGS = [
    *((name, LossSettings(class_weight=0.5)) for name in LOSSES),
    *((name, LossSettings(class_weights=(1.0, 3.0, 0.5))) for name in ("cross-entropy", "ohem")),
    *((name, LossSettings(as_published=True, class_weight=2.0)) for name in PUBLISHED_LOSSES),
    ("relaxed", LossSettings(border=2, relax_until=-1)),
]
every_loss = pytest.mark.parametrize(("name", "settings"), SETTINGS)


def step(weight: Tensor | None = None, label: Tensor | None = None) -> StepOutput:
    """Of four images of 8x12 pixels, of three classes and ignored ones, the last of which is ignored as a whole."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 4, (4, 4, 3), generator=generator).repeat_interleave(2, 1).repeat_interleave(4, 2)
    drawn = drawn.masked_fill(drawn == 3, 255).to(torch.uint8)
    drawn[3] = 255
    label = drawn if label is None else label
    logits = torch.randn(4, 3, 8, 12, generator=generator).requires_grad_()
    auxiliary = torch.randn(4, 3, 4, 6, generator=generator)
    image = torch.zeros(4, 3, 8, 12, dtype=torch.uint8)
    return StepOutput(logits=logits, auxiliary={"aux": auxiliary}, batch=Batch(image, label, weight=weight), epoch=0)


def cost(name: str, settings: LossSettings, output: StepOutput) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient by the logits."""
    total = LOSSES[name](settings)(output).total
    (gradient,) = torch.autograd.grad(total, output.logits)
    return total.detach(), gradient


@every_loss
def test_weights_of_1_are_none_to_the_bit(name: str, settings: LossSettings) -> None:
    plain, gradient = cost(name, settings, step())
    weighed, weighed_gradient = cost(name, settings, step(torch.ones(4, 8, 12)))
    assert weighed == plain
    torch.testing.assert_close(weighed_gradient, gradient, rtol=1e-6, atol=0)


@every_loss
def test_twice_the_weights_cost_twice(name: str, settings: LossSettings) -> None:
    weight = torch.rand(4, 8, 12, generator=torch.Generator().manual_seed(1)) + 0.1
    once, gradient = cost(name, settings, step(weight))
    twice, twice_gradient = cost(name, settings, step(2 * weight))
    assert twice.item() == pytest.approx(2 * once.item(), rel=1e-6)
    torch.testing.assert_close(twice_gradient, 2 * gradient, rtol=1e-5, atol=1e-9)


@every_loss
def test_halves_of_a_batch_cost_together_what_it_does(name: str, settings: LossSettings) -> None:
    """Of unequal weights; each half has as many pixels of each class, by which some losses divide."""
    half = torch.randint(0, 3, (2, 8, 12), generator=torch.Generator().manual_seed(4)).to(torch.uint8)
    weight = torch.rand(4, 8, 12, generator=torch.Generator().manual_seed(1)) + 0.1
    weight[2:] *= 0.25
    whole = step(weight, half.repeat(2, 1, 1))

    def part(chosen: slice) -> StepOutput:
        batch = Batch(whole.batch.image[chosen], whole.batch.label[chosen], weight=weight[chosen])
        auxiliary = {"aux": whole.auxiliary["aux"][chosen]}
        return StepOutput(logits=whole.logits[chosen], auxiliary=auxiliary, batch=batch, epoch=0)

    loss = LOSSES[name](settings)
    halves = (loss(part(slice(2))).total + loss(part(slice(2, 4))).total) / 2
    assert halves.item() == pytest.approx(loss(whole).total.item(), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_pixels_that_weigh_nothing_are_ignored(name: str) -> None:
    """The relaxed loss without windows, in which an ignored pixel would be trained towards its neighbours."""
    label = step().batch.label.clone()
    nothing = torch.rand(4, 8, 12, generator=torch.Generator().manual_seed(2)) < 0.3
    nothing[2] = True  # of a whole image, too
    settings = LossSettings(border=0, class_weight=0 if name == "relaxed" else 0.5)
    weight = 0.25 + 0.5 * torch.rand(4, 8, 12, generator=torch.Generator().manual_seed(3))
    weighed, gradient = cost(name, settings, step(weight.masked_fill(nothing, 0)))
    ignored, ignored_gradient = cost(name, settings, step(weight, label.masked_fill(nothing, 255)))
    assert weighed.item() == pytest.approx(ignored.item(), rel=1e-6)
    torch.testing.assert_close(gradient, ignored_gradient, rtol=1e-5, atol=1e-9)
    assert (gradient.abs().sum(1)[nothing] == 0).all()


@every_loss
def test_where_nothing_weighs_nothing_is_learnt(name: str, settings: LossSettings) -> None:
    total, gradient = cost(name, settings, step(torch.zeros(4, 8, 12)))
    assert total == 0
    assert (gradient == 0).all()


P = torch.tensor([0.9, 0.6, 0.3, 0.5])
LOGITS = torch.stack((P, 1 - P)).log()[None, :, None]
LABELS = torch.tensor([[[0, 0, 1, 255]]])
WEIGHTS = torch.tensor([[[1.0, 0.5, 0.25, 1.0]]])
NLL = [-float(torch.tensor(p).log()) for p in (0.9, 0.6, 0.7)]


def test_each_loss_is_a_mean_of_what_weighs() -> None:
    mean = (NLL[0] + 0.5 * NLL[1] + 0.25 * NLL[2]) / 3
    assert cross_entropy(LOGITS, LABELS, weights=WEIGHTS).item() == pytest.approx(mean)
    by_class = (2 * NLL[0] + 2 * 0.5 * NLL[1] + 0.25 * NLL[2]) / (2 + 2 + 1)
    found = cross_entropy(LOGITS, LABELS, class_weights=(2.0, 1.0), weights=WEIGHTS)
    assert found.item() == pytest.approx(by_class)
    hard = (0.5 * NLL[1] + 0.25 * NLL[2]) / 2  # the two hardest, whatever they weigh
    found = ohem_cross_entropy(LOGITS, LABELS, threshold=0.65, min_kept=2, weights=WEIGHTS)
    assert found.item() == pytest.approx(hard)
    rarer = 1 + (1 - 0.25 / 1.75), 1 + (1 - 1.5 / 1.75)  # of class 1 and class 0, by the shares of their weights
    image = (rarer[1] * (NLL[0] + 0.5 * NLL[1]) + rarer[0] * 0.25 * NLL[2]) / (rarer[1] * 1.5 + rarer[0] * 0.25)
    found = image_weighted_cross_entropy(LOGITS, LABELS, weighting=ClassWeighting(), weights=WEIGHTS)
    assert found.item() == pytest.approx(image * 1.75 / 3)


def test_a_relaxed_pixel_weighs_what_it_is_told() -> None:
    """Windows of one pixel; then of nine: the middle two have both classes, and the ignored one has class 1."""
    plain = RelaxedLoss(border=0)(LOGITS, LABELS, 0, WEIGHTS)
    assert plain.item() == pytest.approx((NLL[0] + 0.5 * NLL[1] + 0.25 * NLL[2]) / 4)
    of_class = 1 + (1 - 1.5 / 2.75), 1 + (1 - 0.25 / 2.75)  # by shares of the weights of all pixels
    weighted = RelaxedLoss(border=0, weighting=ClassWeighting())(LOGITS, LABELS, 0, WEIGHTS)
    expected = of_class[0] * (NLL[0] + 0.5 * NLL[1]) + of_class[1] * 0.25 * NLL[2]
    assert weighted.item() == pytest.approx(expected / 4)
    relaxed = RelaxedLoss(border=1)(LOGITS, LABELS, 0, WEIGHTS)
    towards_1 = -float(torch.tensor(0.5).log())
    assert relaxed.item() == pytest.approx((NLL[0] + 0.0 + 0.0 + towards_1) / 5, rel=1e-5)


def test_images_count_as_their_pixels_do() -> None:
    logits, labels = torch.cat((LOGITS, 2 * LOGITS)), torch.cat((LABELS, LABELS))
    both = torch.cat((torch.ones_like(WEIGHTS), torch.full_like(WEIGHTS, 0.5)))
    for loss in (
        lambda *given, **by_name: RelaxedLoss(mean_over_images=True)(*given, 0, **by_name),
        lambda *given, **by_name: image_weighted_cross_entropy(
            *given, weighting=ClassWeighting(), mean_over_images=True, **by_name
        ),
    ):
        first, second = (loss(logits[n : n + 1], labels[:1]).item() for n in range(2))  # type: ignore[no-untyped-call]
        found = loss(logits, labels, weights=both).item()  # type: ignore[no-untyped-call]
        assert found == pytest.approx((first + 0.5 * second) / 2)


def test_many_weights_are_added_up_exactly() -> None:
    classes = (torch.arange(896 * 896) % 2).reshape(1, 896, 896)
    found = count_classes(classes, 2, torch.full((1, 896, 896), 1 / 15))
    torch.testing.assert_close(found / found.sum(), torch.tensor([[0.5, 0.5, 0]], dtype=torch.float64))
    assert found[0, 0].item() == pytest.approx(896 * 896 / 30, rel=1e-6)


LABEL_LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross-entropy": cross_entropy,
    "ohem": ohem_cross_entropy,
    "image-weighted": lambda *given, **by_name: image_weighted_cross_entropy(
        *given, weighting=ClassWeighting(), **by_name
    ),
    "relaxed": lambda *given, **by_name: RelaxedLoss()(*given, **by_name),
}


@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_another_size_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected a weight of each pixel, \[1, 1, 4\], found \[1, 4\]"):
        LABEL_LOSSES[name](LOGITS, LABELS, weights=WEIGHTS[0])


def test_a_loss_that_does_not_know_weights_is_told_apart() -> None:
    loss = any_epoch(lambda logits, labels: (logits[:, 0] * labels).mean())
    assert loss(LOGITS, LABELS, 0) == (LOGITS[:, 0] * LABELS).mean()
    with pytest.raises(FitError, match="does not know what pixels weigh; give it a parameter `weights`, or leave out"):
        loss(LOGITS, LABELS, 0, WEIGHTS)
