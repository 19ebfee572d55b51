"""Losses of segmentation: the published numbers, their defects that ours doesn't have, and what must hold anyway."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from segtrain.losses.class_sets import relaxed_target
from segtrain.losses.cross_entropy import cross_entropy, image_weighted_cross_entropy, ohem_cross_entropy
from segtrain.losses.relaxed import RelaxedLoss
from segtrain.losses.set_likelihood import set_negative_log_likelihood
from segtrain.losses.weighting import ClassWeighting, class_pixels

GOLDEN = Path(__file__).parents[2] / "golden"
PUBLISHED = json.loads((GOLDEN / "segmentation_losses.json").read_text())
LOSSES: dict[str, float] = {k: v for k, v in PUBLISHED["losses"].items() if not k.startswith("weights|")}
SINGLE = [key for key in LOSSES if "+" not in key and "hazard" not in key and not math.isnan(LOSSES[key])]
NOT_A_NUMBER = [key for key in LOSSES if "hazard" not in key and math.isnan(LOSSES[key])]
GRADIENTS = [name for name in np.load(GOLDEN / "segmentation_losses.npz").files if name.startswith("grad_")]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    return {name: torch.from_numpy(a) for name, a in np.load(GOLDEN / "segmentation_losses.npz").items()}


def case(arrays: dict[str, Tensor], maps: str) -> tuple[Tensor, Tensor]:
    """Logits and labels of "plain0" or, as a batch, "plain0+ignore0"."""
    names = maps.split("+")
    logits, labels = (torch.stack([arrays[f"{kind}_{name}"] for name in names]) for kind in ("logits", "map"))
    return logits.requires_grad_(), labels


def ours(key: str, arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Our loss for a published key such as "relax|border1|ub1|norm|plain0", and its gradient by the logits."""
    kind, *options, maps = key.split("|")
    logits, labels = case(arrays, maps)
    bound = next((float(option[2:]) for option in options if option.startswith("ub")), 0)
    weighting = ClassWeighting(upper_bound=bound, inverse="norm" in options, over_batch="batchw" in options)
    if kind == "relax":
        config = PUBLISHED["configs"][options[0]]
        loss = RelaxedLoss(
            border=config["b"],
            strict_classes=tuple(config["strict"] or ()),
            relax_until=config["red"] if config["red"] >= 0 else None,
            weighting=weighting,
        )(logits, labels, config["ep"])
    elif kind == "imgwt":
        loss = image_weighted_cross_entropy(logits, labels, weighting=weighting)
    else:
        loss = cross_entropy(logits, labels)
    loss.backward()
    assert logits.grad is not None
    return loss.detach(), logits.grad


@pytest.mark.parametrize("key", SINGLE)
def test_a_single_image_costs_what_is_published(key: str, arrays: dict[str, Tensor]) -> None:
    loss, _ = ours(key, arrays)
    assert loss.item() == pytest.approx(LOSSES[key], rel=2e-5)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_the_published_ones(name: str, arrays: dict[str, Tensor]) -> None:
    _, grad = ours(name.removeprefix("grad_").replace("__", "|"), arrays)
    torch.testing.assert_close(grad[0], arrays[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("key", NOT_A_NUMBER)
def test_where_the_published_loss_is_nan_ours_is_a_number(key: str, arrays: dict[str, Tensor]) -> None:
    loss, grad = ours(key, arrays)
    assert loss.isfinite()
    assert grad.isfinite().all()
    if key.endswith("all_ignore"):
        assert loss == 0
        assert (grad == 0).all()


@pytest.mark.parametrize("options", ["relax|border1|ub1", "relax|strict|ub1", "relax|after_off|ub1", "imgwt|ub1"])
def test_a_batch_costs_what_its_images_cost(options: str, arrays: dict[str, Tensor]) -> None:
    """The published relaxed loss of a batch applies the weights 1/n of all images to each: 40.667, not 19.984."""
    both, grad = ours(f"{options}|plain0+ignore0", arrays)
    alone = [ours(f"{options}|{name}", arrays) for name in ("plain0", "ignore0")]
    assert both.item() == pytest.approx(sum(loss.item() for loss, _ in alone), rel=1e-6)
    torch.testing.assert_close(grad, torch.cat([g for _, g in alone]), atol=1e-8, rtol=1e-6)
    if options == "relax|border1|ub1":
        assert both.item() == pytest.approx(19.984, abs=1e-3)
        assert LOSSES[f"{options}|plain0+ignore0"] == pytest.approx(40.667, abs=1e-3)


def test_the_published_batch_is_ours_with_its_defect_put_back(arrays: dict[str, Tensor]) -> None:
    logits, labels = case(arrays, "plain0+ignore0")
    target = relaxed_target(labels, 19)
    nll = set_negative_log_likelihood(logits.detach().double(), target)
    weights = ClassWeighting().weights(class_pixels(target, 19))
    sets = multi_hot(labels, 19, 1).double()[:, :19]
    num_members = sets.sum(dim=1).clamp(min=1)
    total = 0.0
    for image in range(2):
        summed = nll[image] * torch.einsum("chw,c->hw", sets[image], weights[image, :19].double())
        trained = (sets[image].sum(dim=0) > 0).sum() + 1
        total += sum(float((summed / n).sum() / trained) for n in num_members)
    assert total == pytest.approx(LOSSES["relax|border1|ub1|plain0+ignore0"], rel=2e-5)


def test_one_weighting_of_the_batch_is_shared_by_its_images(arrays: dict[str, Tensor]) -> None:
    key = "imgwt|ub6|batchw|plain0+ignore0"
    assert ours(key, arrays)[0].item() == pytest.approx(LOSSES[key], rel=2e-5)


@pytest.mark.parametrize("maps", ["plain0", "ignore0", "all_ignore", "one_class"])
def test_class_weights_are_the_published_ones(maps: str, arrays: dict[str, Tensor]) -> None:
    labels = arrays[f"map_{maps}"][None]
    weights = ClassWeighting().weights(class_pixels(relaxed_target(labels, 19), 19))[0, :19]
    published = PUBLISHED["losses"][f"weights|relax|{maps}"]
    torch.testing.assert_close(weights, torch.tensor(published), rtol=1e-6, atol=0)


def multi_hot(labels: Tensor, num_classes: int, border: int) -> Tensor:
    """Sets by nine, twenty-five… shifted one-hots: [B,C+1,H,W] bool."""
    classes = labels.long().masked_fill(labels == 255, num_classes)
    padded = F.pad(classes, (border,) * 4, value=num_classes)
    one_hot = F.one_hot(padded, num_classes + 1).permute(0, 3, 1, 2).float()
    return F.max_pool2d(one_hot, 2 * border + 1, stride=1) > 0


def by_definition(logits: Tensor, sets: Tensor) -> Tensor:
    """−log Σ P(c) in float64, 0 where the set is empty."""
    p = logits.double().softmax(dim=1)
    inside = (p * sets[:, :-1]).sum(dim=1)
    return -torch.where(sets[:, :-1].any(dim=1), inside, 1).log()


@pytest.mark.parametrize("num_classes", [1, 5, 31, 32, 65, 255])
@pytest.mark.parametrize("border", [0, 1, 3])
def test_any_number_of_classes_and_any_border_follow_the_definition(num_classes: int, border: int) -> None:
    torch.manual_seed(num_classes)
    labels = torch.randint(0, num_classes + 1, (2, 5, 7)).repeat_interleave(3, 1).repeat_interleave(2, 2)
    labels = labels.masked_fill(labels == num_classes, 255).to(torch.uint8)
    logits = torch.randn(2, num_classes, 15, 14, dtype=torch.float64, requires_grad=True)
    sets = multi_hot(labels, num_classes, border)
    nll = set_negative_log_likelihood(logits, relaxed_target(labels, num_classes, border=border))
    expected = by_definition(logits, sets)
    torch.testing.assert_close(nll, expected)
    towards = torch.randn_like(nll)
    (grad,) = torch.autograd.grad(nll, logits, towards)
    (expected_grad,) = torch.autograd.grad(expected, logits, towards)
    torch.testing.assert_close(grad, expected_grad)


def test_a_gap_of_200_between_logits_costs_200() -> None:
    """Published: NaN, the logarithm of a softmax that is 0 in float32."""
    assert math.isnan(LOSSES["relax|hazard_gap200"])
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    logits = torch.zeros(1, 19, 4, 4)
    logits[:, 5] = 200
    logits.requires_grad_()
    loss = RelaxedLoss()(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(200 * 16 / 17)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[0, :, 1, 1] * 17, F.one_hot(torch.tensor(5), 19) - torch.eye(19)[0])
    assert cross_entropy(logits, labels).item() == pytest.approx(LOSSES["ce|hazard_gap200"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loses_no_more_than_the_logits_have_lost(dtype: torch.dtype, arrays: dict[str, Tensor]) -> None:
    logits, labels = case(arrays, "plain0+ignore0")
    half = (30 * logits.detach()).to(dtype)
    losses, grads = [], []
    for given in (half.requires_grad_(), half.detach().double().requires_grad_()):
        loss = RelaxedLoss(weighting=ClassWeighting())(given, labels)
        loss.backward()
        assert given.grad is not None
        losses.append(loss.item())
        grads.append(given.grad.double())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    step = torch.finfo(dtype).eps * grads[1].abs().max()
    torch.testing.assert_close(grads[0], grads[1], atol=float(step), rtol=0)


def test_the_order_in_memory_and_bands_change_nothing(
    arrays: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, labels = case(arrays, "plain0+ignore0")
    loss = RelaxedLoss(weighting=ClassWeighting())
    (expected,) = torch.autograd.grad(loss(logits, labels), logits)
    last = logits.detach().to(memory_format=torch.channels_last).requires_grad_()
    monkeypatch.setattr("segtrain.losses.set_likelihood.BAND_LOGITS", 19 * 32 * 2 * 5)
    (grad,) = torch.autograd.grad(loss(last, labels.mT.contiguous().mT), last)
    torch.testing.assert_close(grad, expected, atol=1e-9, rtol=1e-5)
    assert grad.is_contiguous(memory_format=torch.channels_last)


def test_one_set_of_all_classes_costs_nothing() -> None:
    labels = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)
    logits = torch.randn(1, 4, 2, 2, requires_grad=True)
    loss = RelaxedLoss()(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(logits.grad, torch.zeros(1, 4, 2, 2), atol=1e-6, rtol=0)


def test_mean_over_images_is_the_sum_over_their_number(arrays: dict[str, Tensor]) -> None:
    logits, labels = case(arrays, "plain0+ignore0")
    added, mean = (RelaxedLoss(mean_over_images=mean)(logits, labels) for mean in (False, True))
    assert mean.item() == pytest.approx(added.item() / 2)
    weighting = ClassWeighting()
    added, mean = (
        image_weighted_cross_entropy(logits, labels, weighting=weighting, mean_over_images=mean)
        for mean in (False, True)
    )
    assert mean.item() == pytest.approx(added.item() / 2)


def test_hard_pixels_are_those_below_the_threshold() -> None:
    p = torch.tensor([0.9, 0.8, 0.6, 0.3, 0.1, 0.5])
    logits = torch.stack((p, 1 - p)).log()[None, :, None]
    labels = torch.tensor([[[0, 0, 0, 0, 0, 255]]])
    hard = -p[2:5].log().mean()
    assert ohem_cross_entropy(logits, labels, threshold=0.7, min_kept=1).item() == pytest.approx(hard.item())
    four = -p[1:5].log().mean()
    assert ohem_cross_entropy(logits, labels, threshold=0.7, min_kept=4).item() == pytest.approx(four.item())
    everything = ohem_cross_entropy(logits, labels, threshold=0.7, min_kept=99)
    assert everything.item() == pytest.approx(cross_entropy(logits, labels).item())


def test_a_weighted_mean_is_divided_by_the_weights_of_its_pixels() -> None:
    p = torch.tensor([0.9, 0.8, 0.6, 0.5, 0.3, 0.1])
    logits = torch.stack((p, 1 - p)).log()[None, :, None]
    labels = torch.tensor([[[0, 0, 1, 0, 1, 255]]])
    nll = -torch.stack((p[0], p[1], 1 - p[2], p[3], 1 - p[4])).log()
    weight = torch.tensor([1.0, 1.0, 4.0, 1.0, 4.0])
    expected = (weight * nll).sum() / weight.sum()
    assert cross_entropy(logits, labels, class_weights=(1.0, 4.0)).item() == pytest.approx(expected.item())
    assert cross_entropy(logits, labels, class_weights=(3.0, 3.0)).item() == pytest.approx(nll.mean().item())
    hard = (4 * nll[2] + nll[3]) / 5  # the weights do not say which are hard
    found = ohem_cross_entropy(logits, labels, threshold=0.6, min_kept=1, class_weights=(1.0, 4.0))
    assert found.item() == pytest.approx(hard.item())
    half = cross_entropy(logits.half(), labels, class_weights=(1.0, 4.0))
    assert half.dtype == torch.float32
    for loss in (cross_entropy, ohem_cross_entropy):
        with pytest.raises(ValueError, match="expected a weight of each of the 2 classes, found 3"):
            loss(logits, labels, class_weights=(1.0, 1.0, 1.0))


def test_nothing_to_train_on_costs_nothing() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels, weights = torch.full((1, 2, 2), 255), (1.0, 2.0, 3.0)
    for loss in (
        ohem_cross_entropy(logits, labels),
        ohem_cross_entropy(logits, labels, class_weights=weights),
        cross_entropy(logits, labels),
        cross_entropy(logits, labels, class_weights=weights),
        RelaxedLoss()(logits, labels),
    ):
        (grad,) = torch.autograd.grad(loss, logits)
        assert loss == 0
        assert (grad == 0).all()


def test_what_makes_no_sense_is_refused() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match=r"logits \[B,C,H,W\] and labels \[B,H,W\] of one size, found .*\[1, 2, 3\]"):
        RelaxedLoss()(logits, torch.zeros(1, 2, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"upper_bound must be 0 or more, found -1"):
        ClassWeighting(upper_bound=-1)
    with pytest.raises(
        ValueError, match=r"threshold must be above 0 and at most 1, min_kept at least 1, found 7 and 1"
    ):
        ohem_cross_entropy(logits, torch.zeros(1, 2, 2, dtype=torch.uint8), threshold=7, min_kept=1)


def test_pixels_are_hard_below_a_probability_of_seven_tenths_unless_told_otherwise() -> None:
    probabilities = torch.tensor([0.6, 0.65, 0.75]).view(1, 1, 1, 3)
    logits = torch.cat((probabilities, 1 - probabilities), dim=1).log()
    found = ohem_cross_entropy(logits, torch.zeros(1, 1, 3, dtype=torch.uint8), min_kept=1)
    assert found.item() == pytest.approx(-(math.log(0.6) + math.log(0.65)) / 2)


def test_a_hundred_thousand_pixels_are_hard_at_least_unless_told_otherwise() -> None:
    probabilities = torch.full((1, 1, 300, 400), 0.9)
    probabilities[..., :200, :] = 0.8  # the hardest 80,000
    logits = torch.cat((probabilities, 1 - probabilities), dim=1).log()
    found = ohem_cross_entropy(logits, torch.zeros(1, 300, 400, dtype=torch.uint8))
    assert found.item() == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.9), rel=1e-4)
