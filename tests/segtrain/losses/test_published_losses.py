"""The published losses of a batch, defect included: their numbers and gradients, and the steps of the recipes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from propagate.data.classes import load_classes
from segtrain.config import FitConfig
from segtrain.data.batches import Batch
from segtrain.fit.labelled import learning_rate
from segtrain.fit.objective import open_objective
from segtrain.fit.recipes import load_recipe, recipe_names
from segtrain.losses.cross_entropy import image_weighted_cross_entropy
from segtrain.losses.objective import StepOutput, mean_over_pairs
from segtrain.losses.registry import LOSSES
from segtrain.losses.relaxed import RelaxedLoss
from segtrain.losses.settings import LossSettings
from segtrain.losses.weighting import ClassWeighting

GOLDEN = Path(__file__).parents[2] / "golden"
PUBLISHED = json.loads((GOLDEN / "segmentation_losses.json").read_text())
LOSSES_OF_KEYS: dict[str, float] = {
    key: value
    for key, value in PUBLISHED["losses"].items()
    if key.startswith(("relax|", "imgwt|")) and "hazard" not in key and not math.isnan(value)
}
BATCHES = [key for key in LOSSES_OF_KEYS if "+" in key]
RELAXED = [key for key in LOSSES_OF_KEYS if key.startswith("relax|")]
GRADIENTS = np.load(GOLDEN / "segmentation_batch_gradients.npz").files
RATES = {
    name: table["lambda_of_epoch"]
    for name, table in json.loads((GOLDEN / "segmentation_misc.json").read_text())["lr"].items()
}
NAMES = load_classes("cityscapes").train_names


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return {**np.load(GOLDEN / "segmentation_losses.npz"), **np.load(GOLDEN / "segmentation_batch_gradients.npz")}


def case(arrays: dict[str, np.ndarray], maps: str) -> tuple[Tensor, Tensor]:
    """Logits and labels of "plain0" or, as a batch, "plain0+ignore0"."""
    logits, labels = (
        torch.from_numpy(np.stack([arrays[f"{kind}_{name}"] for name in maps.split("+")])) for kind in ("logits", "map")
    )
    return logits.requires_grad_(), labels


def weighting_of(options: list[str]) -> ClassWeighting:
    bound = next(float(option[2:]) for option in options if option.startswith("ub"))
    return ClassWeighting(upper_bound=bound, inverse="norm" in options, over_batch="batchw" in options)


def ours(key: str, arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Our loss for a published key such as "relax|border1|ub1|plain0+ignore0", and its gradient by the logits."""
    kind, *options, maps = key.split("|")
    logits, labels = case(arrays, maps)
    if kind == "relax":
        config = PUBLISHED["configs"][options[0]]
        loss = RelaxedLoss(
            border=config["b"],
            strict_classes=tuple(config["strict"] or ()),
            relax_until=config["red"] if config["red"] >= 0 else None,
            weighting=weighting_of(options),
            as_published=True,
        )(logits, labels, config["ep"])
    else:
        loss = image_weighted_cross_entropy(logits, labels, weighting=weighting_of(options))
    (grad,) = torch.autograd.grad(loss, logits)
    return loss.detach(), grad


def by_definition(key: str, arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """The published relaxed loss in float64, from the published targets: multi-hot, twice that at boundary pixels."""
    _, config, *options, maps = key.split("|")
    stored = [arrays[f"target_{config}_{name}"] for name in maps.split("+")]
    target = torch.from_numpy(np.stack([np.unpackbits(t, axis=0)[:20] if len(t) == 3 else t for t in stored])).double()
    logits, _ = case(arrays, maps)
    weighting = weighting_of(options)
    counts = target.sum(dim=(2, 3))
    counts = counts.sum(dim=0, keepdim=True) if weighting.over_batch else counts
    share = (counts / counts.sum(dim=1, keepdim=True))[:, :-1, None, None]
    class_weight = 1 + (share > 0) * weighting.upper_bound * (1 - share)
    sets = (target[:, :-1] > 0).double()
    num_members = sets.sum(dim=1)
    p = logits.double().softmax(dim=1)
    pixels = -(sets * class_weight * torch.maximum(p, sets * (sets * p).sum(dim=1, keepdim=True)).log()).sum(dim=1)
    of_all = torch.where(num_members > 0, target.amax(dim=1) / num_members, 1).sum(dim=0)
    loss = ((of_all * pixels).sum(dim=(1, 2)) / ((num_members > 0).sum(dim=(1, 2)) + 1)).sum()
    (grad,) = torch.autograd.grad(loss, logits)
    return loss.detach(), grad


@pytest.mark.parametrize("key", BATCHES)
def test_a_batch_costs_what_is_published(key: str, arrays: dict[str, np.ndarray]) -> None:
    loss, _ = ours(key, arrays)
    assert loss.item() == pytest.approx(LOSSES_OF_KEYS[key], rel=2e-6)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_a_batch_are_the_published_ones(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Of every third row, which is what is stored."""
    _, grad = ours(name.replace("__", "|"), arrays)
    torch.testing.assert_close(grad[:, :, ::3], torch.from_numpy(arrays[name]), atol=1e-8, rtol=0)


@pytest.mark.parametrize("key", RELAXED)
def test_loss_and_gradient_follow_the_published_definition(key: str, arrays: dict[str, np.ndarray]) -> None:
    expected, expected_grad = by_definition(key, arrays)
    assert expected.item() == pytest.approx(LOSSES_OF_KEYS[key], rel=2e-6)
    loss, grad = ours(key, arrays)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(grad, expected_grad, atol=1e-8, rtol=0)


def test_one_image_has_no_other_to_be_mixed_with(arrays: dict[str, np.ndarray]) -> None:
    logits, labels = case(arrays, "ignore0")
    mixed, exact = (RelaxedLoss(as_published=yes)(logits, labels).item() for yes in (True, False))
    assert mixed == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(("loss", "kind"), [("relaxed", "relax|border1|ub1"), ("image-weighted", "imgwt|ub1")])
def test_a_step_is_the_mean_over_pairs_however_many_workers_share_it(
    loss: str, kind: str, arrays: dict[str, np.ndarray]
) -> None:
    pairs = ("plain0+ignore0", "plain1+ignore1")
    expected = [ours(f"{kind}|{pair}", arrays)[0] for pair in pairs]
    objective = LOSSES[loss](LossSettings(class_weight=1.0, as_published=True))

    def cost(maps: str) -> Tensor:
        logits, labels = case(arrays, maps)
        return objective(StepOutput(logits=logits, batch=Batch(labels, labels), epoch=0)).total

    assert cost("+".join(pairs)).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-6)
    assert [cost(pair).item() for pair in pairs] == pytest.approx([one.item() for one in expected], rel=1e-6)
    with pytest.raises(ValueError, match="a published loss takes images in pairs, found 3; give an even number"):
        cost("plain0+ignore0+plain1")


def test_pairs_are_consecutive_images() -> None:
    seen: list[list[float]] = []

    def loss(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        assert (len(labels), epoch) == (2, 7)
        seen.append(logits.flatten().tolist())
        return logits.prod()

    logits = torch.arange(1.0, 5.0)[:, None, None, None]
    assert mean_over_pairs(loss)(logits, torch.zeros(4, 1, 1), 7) == (1 * 2 + 3 * 4) / 2
    assert seen == [[1, 2], [3, 4]]


def weighted_by_definition(key: str, arrays: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """The published image-weighted cross entropy in float64: of each image a weighted mean, of these the sum."""
    _, *options, maps = key.split("|")
    bound = weighting_of(options).upper_bound
    logits, labels = case(arrays, maps)
    loss = torch.zeros((), dtype=torch.float64)
    for scores, label in zip(logits.double(), labels.long(), strict=True):
        counts = torch.bincount(label[label != 255], minlength=len(NAMES)).double()
        share = counts / counts.sum()
        weight = 1 + (share > 0) * bound * (1 - share)
        loss = loss + F.cross_entropy(scores[None], label[None], weight=weight, ignore_index=255)
    (grad,) = torch.autograd.grad(loss, logits)
    return loss.detach(), grad


OF_PAPER = ["camvid", "cityscapes-srnx50", "cityscapes-wrn38", "kitti", "mapillary-srnx50", "mapillary-wrn38"]
STEPS = [  # recipe, epoch, the loss that is published for it, and the rate
    *((name, 0, "relax|border1|ub1", 0.002) for name in OF_PAPER),
    ("cityscapes-wrn38-released", 0, "relax|strict|ub1", 0.001),
    ("cityscapes-wrn38-released", 100, "relax|strict|ub1", 0.001 * RATES["cityscapes_scl_poly"][100]),
    ("cityscapes-wrn38-released", 101, "relax|after_off|ub1", 0.001 * RATES["cityscapes_scl_poly"][101]),
    ("mapillary-wrn38-released", 0, "imgwt|ub6", 0.02),
    ("kitti-released", 0, "imgwt|ub1", 0.001),
]


def test_all_recipes_of_published_losses_are_compared() -> None:
    assert {name for name, *_ in STEPS} == {name for name in recipe_names() if load_recipe(name).get("as_published")}


@pytest.mark.parametrize(("name", "epoch", "kind", "rate"), STEPS)
def test_a_step_of_a_recipe_is_the_published_one(
    name: str, epoch: int, kind: str, rate: float, arrays: dict[str, np.ndarray]
) -> None:
    """Rate times gradient, and rate times decay, of a published batch of 19 classes.

    The gradient follows from the published definition, whose loss is the stored one; so is every third row of the
    gradient, where that is stored: it is not for `imgwt|ub6`. Without class weights, and with the mean over images by
    themselves at twice the rate, as the recipes of the paper had it once, a step was 4 times smaller.
    """
    key = f"{kind}|plain0+ignore0"
    loss, gradient = (by_definition if kind.startswith("relax") else weighted_by_definition)(key, arrays)
    assert loss.item() == pytest.approx(LOSSES_OF_KEYS[key], rel=2e-6)
    if (stored := key.replace("|", "__")) in GRADIENTS:
        torch.testing.assert_close(gradient[:, :, ::3], torch.from_numpy(arrays[stored]), atol=1e-8, rtol=0)
    else:
        assert kind == "imgwt|ub6"
    published = rate * gradient

    def step(config: FitConfig) -> Tensor:
        logits, labels = case(arrays, "plain0+ignore0")
        output = StepOutput(logits=logits, batch=Batch(labels, labels), epoch=epoch)
        (grad,) = torch.autograd.grad(open_objective(config, NAMES)(output).total, logits)
        return learning_rate(config, epoch) * grad

    settings = {"out": Path("run"), "root": Path("data"), **load_recipe(name)}
    config = FitConfig(**settings)
    torch.testing.assert_close(step(config), published, atol=1e-6 * published.abs().max().item(), rtol=0)
    assert learning_rate(config, epoch) * config.weight_decay == pytest.approx(rate * 0.0001)
    if name in OF_PAPER:
        former = FitConfig(**{**settings, "as_published": False, "class_weight": 0.0, "learning_rate": 0.004})
        assert (published.norm() / step(former).norm()).item() == pytest.approx(3.99, abs=0.005)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("cityscapes-wrn38", "default_poly_180"),
        ("cityscapes-wrn38-released", "cityscapes_scl_poly"),
        ("mapillary-wrn38-released", "mapillary_poly"),
        ("kitti-released", "kitti_poly"),
    ],
)
def test_the_rates_of_a_recipe_are_the_published_ones(name: str, table: str) -> None:
    """At the beginning of each epoch; within one, ours go on falling."""
    config = FitConfig(out=Path("run"), root=Path("data"), **load_recipe(name))
    first = {"default_poly_180": 0.002, "cityscapes_scl_poly": 0.001, "mapillary_poly": 0.02, "kitti_poly": 0.001}
    rates = [learning_rate(config, epoch) for epoch in range(config.epochs)]
    assert rates == pytest.approx([first[table] * factor for factor in RATES[table][:-1]], abs=1e-12)


def test_the_classes_of_the_released_recipe_are_the_published_ones() -> None:
    """By their train ids."""
    recipe = load_recipe("cityscapes-wrn38-released")
    strict, coarse = ([NAMES.index(name) for name in recipe[f"{kind}_classes"]] for kind in ("strict", "coarse"))
    assert strict == [5, 6, 7, 11, 12, 17, 18]
    assert coarse == [14, 15, 16, 3, 12, 17, 4]
