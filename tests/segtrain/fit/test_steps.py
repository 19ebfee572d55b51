"""Steps of a training: against the published one, shared by members, and what a validation leaves as it was."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.fill import fill
from helpers.runs import assert_close_moments, assert_same_tensors, checkpoint
from torch import nn

from jobs.console.progress import Advance
from jobs.training.runtime import Runtime
from propagate.data.classes import load_classes
from segtrain.config import FitConfig
from segtrain.data.batches import Batch
from segtrain.data.sampling import ANYWHERE, Epoch
from segtrain.fit.labelled import learning_rate, open_state, positions_of
from segtrain.fit.objective import open_objective
from segtrain.fit.training import fit
from segtrain.fit.validation import evaluating, spread
from segtrain.losses.objective import StepOutput
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[2] / "golden"
RATES = json.loads((GOLDEN / "segmentation_misc.json").read_text())["lr"]
CITYSCAPES = load_classes("cityscapes")


@pytest.mark.parametrize("name", RATES)
def test_rates_of_the_training_are_the_published_ones(name: str) -> None:
    args, table = RATES[name]["args"], RATES[name]["lambda_of_epoch"]
    is_poly = args["schedule"] == "poly"
    config = FitConfig(
        root=Path("data"),
        out=Path("run"),
        epochs=args["max_epoch"],
        learning_rate=0.002,
        schedule="poly" if is_poly else "scaled-poly",
        power=args["poly_exp"],
        **({} if is_poly else {"relax_until": args["rlx_off_epoch"] - 1, "restart_rate": args["rescale"]}),
        **({} if is_poly else {"restart_power": args["repoly"]}),
    )
    rates = [learning_rate(config, epoch) for epoch in range(config.epochs)]
    assert rates == pytest.approx([0.002 * factor for factor in table[:-1]], abs=1e-12)
    if not is_poly:  # without labels that are relaxed no longer, the restart is said
        again = replace(config, relax_until=None, restart=args["rlx_off_epoch"])
        assert [learning_rate(again, epoch) for epoch in range(config.epochs)] == rates


def test_rates_may_fall_where_an_epoch_begins() -> None:
    by_step = FitConfig(root=Path("data"), out=Path("run"), epochs=10)
    by_epoch = replace(by_step, schedule_by="epoch")
    places = (0, 0.9, 1, 1.5)
    assert [learning_rate(by_epoch, place) for place in places] == pytest.approx([0.004, 0.004, 0.0036, 0.0036])
    assert [learning_rate(by_step, place) for place in places] == pytest.approx([0.004, 0.00364, 0.0036, 0.0034])


def test_cosine_rates_fall_from_step_to_step() -> None:
    config = FitConfig(root=Path("data"), out=Path("run"), epochs=10, learning_rate=0.4, schedule="cosine")
    rates = [learning_rate(config, step / 4) for step in range(40)]
    assert rates[0] == 0.4
    assert rates[20] == pytest.approx(0.2)
    assert all(late < early for early, late in pairwise(rates))
    assert rates[-1] > 0


@pytest.fixture(scope="module")
def published_step() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "segmentation_train_step.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def test_a_step_goes_down_the_published_gradient(published_step: dict[str, np.ndarray]) -> None:
    """In float64, as the published numbers; the network's statistics too, of which the moving average has a copy."""
    with torch.device("meta"):
        network = build_network("resnet50")
    network = network.to_empty(device="cpu")
    fill(network)
    config = FitConfig(
        root=Path("data"), out=Path("run"), loss="cross-entropy", momentum=0.9, weight_decay=1e-4, average=0.5
    )
    state = open_state(network.double().train(), config, Runtime(device=torch.device("cpu")))
    objective = open_objective(config, CITYSCAPES.train_names)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    batch = Batch(torch.from_numpy(published_step["image"]), torch.from_numpy(published_step["label"]))
    logits = network(normalised(batch.image).double())
    loss = objective(StepOutput(logits=logits, batch=batch, epoch=0)).total
    assert loss.item() == pytest.approx(float(published_step["resnet50_ce_loss"]), rel=1e-7)
    state.backward(loss)
    assert state.update(0.01, loss.detach())
    weights, averages = dict(network.named_parameters()), dict(state.average.named_parameters())
    prefix = "resnet50_ce_grad_"
    gradients = {key.removeprefix(prefix): array for key, array in published_step.items() if key.startswith(prefix)}
    assert len(gradients) == 5
    for name, gradient in gradients.items():
        step = 0.01 * (torch.from_numpy(gradient) + 1e-4 * before[name])
        assert ((before[name] - weights[name]) - step).norm() < 1e-5 * step.norm()
        kept = 2 / 11  # (1 + 1)/(10 + 1), less than 0.5
        torch.testing.assert_close(averages[name], (kept * before[name] + (1 - kept) * weights[name]).detach())
    assert_same_tensors(dict(network.named_buffers()), dict(state.average.named_buffers()))


def test_members_share_the_steps_of_one() -> None:
    everywhere = np.full(10, ANYWHERE)
    epoch = Epoch(0, 0, np.arange(10), everywhere, everywhere, everywhere, 10, ())
    config = FitConfig(root=Path("data"), out=Path("run"), batch_size=8, accumulate=2, workers=2)

    def steps(num_members: int, accumulate: int) -> list[set[int]]:
        shares = [
            positions_of(epoch, range(1, 2), replace(config, accumulate=accumulate), member)
            for member in members(num_members)
        ]
        assert all(len(part) == 8 // num_members // accumulate for share in shares for part in share)
        return [set().union(*(position for share in shares for position in share))]

    whole = steps(1, 1)
    assert whole == [{8, 9, 0, 1, 2, 3, 4, 5}]  # filled up with the first
    assert steps(2, 1) == steps(1, 2) == steps(2, 2) == steps(4, 2) == whole


def members(number: int) -> list[Any]:
    from jobs.crew.member import Member

    return [Member(rank, number, torch.device("cpu"), 0) for rank in range(number)]


@pytest.fixture
def alone(config: FitConfig, tmp_path: Path) -> FitConfig:
    """Two steps of four images by one member, done, from weights with useful batch norms, which are now frozen.

    They are too short to move the weights: where rounding moves them, a ReLU's input that is nearly zero changes its
    sign, and with it the gradients of all layers before.
    """
    before = replace(config, val_split=None, batch_size=4, epoch_length=20, out=tmp_path / "before")
    fit(before)
    alone = replace(
        config,
        weights=before.out / "last.safetensors",
        freeze_batch_norm=True,
        batch_size=4,
        epochs=1,
        epoch_length=8,
        learning_rate=1e-12,
    )
    fit(alone)
    return alone


def test_parts_of_a_step_add_up_to_it(alone: FitConfig, tmp_path: Path) -> None:
    parts = replace(alone, accumulate=2, out=tmp_path / "parts")
    assert fit(parts).steps == 2
    assert_close_moments(parts.out, alone.out)
    other = replace(alone, seed=1, out=tmp_path / "other")
    fit(other)
    with pytest.raises(AssertionError):
        assert_close_moments(other.out, alone.out)


def test_two_members_learn_as_one_does(alone: FitConfig, tmp_path: Path) -> None:
    """On Ray, each in two parts; they validate together, and one of them tells."""
    both = replace(alone, workers=2, accumulate=2, out=tmp_path / "both")
    told: list[Advance] = []
    summary = fit(both, told.append)
    assert summary.steps == 2
    assert summary.scores is not None
    assert [advance.line for advance in told[1:] if advance.line] == [f"epoch 1: {summary.scores}"]
    assert_close_moments(both.out, alone.out)


def test_a_step_that_is_left_out_leaves_nothing_behind() -> None:
    """In float16 the first one often is; memory that was not zero must not become a moment."""
    config = FitConfig(root=Path("data"), out=Path("run"), momentum=0.9, weight_decay=0, learning_rate=0.5)
    network = nn.Linear(64, 64, bias=False)
    state = open_state(network, config, Runtime(device=torch.device("cpu"), dtype=torch.float16))  # type: ignore[arg-type]
    before = network.weight.detach().clone()
    used = [torch.full((64, 64), 1e30) for _ in range(50)]
    del used
    for size, expected in ((1e35, before), (1.0, before - 0.5)):
        loss = (network.weight * size).sum()
        state.backward(loss)
        assert state.update(0.5, loss.detach())
        torch.testing.assert_close(network.weight.detach(), expected)


def test_frozen_batch_norms_stay_frozen(config: FitConfig) -> None:
    """Also after a validation, for which the network is the one that learns."""
    fit(replace(config, freeze_batch_norm=True))
    state = checkpoint(config.out)["network"]
    assert all((state[name] == 0).all() for name in state if name.endswith(("running_mean", "num_batches_tracked")))


def test_evaluation_gives_each_layer_its_mode_back() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1).eval(), nn.BatchNorm2d(1)).train()
    network[0].eval()
    with evaluating(network):
        assert not any(layer.training for layer in network.modules())
    assert [layer.training for layer in network.modules()] == [True, False, True]


def test_images_to_validate_on_are_spread_evenly() -> None:
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 10) == spread(3, None) == [0, 1, 2]
    assert spread(7, 1) == [0]
