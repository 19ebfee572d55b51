"""`segtrain fit` of another family than DeepLabV3+, and towards objectives that see more than logits."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.runs import checkpoint
from torch import Tensor

from jobs.training.task import Losses
from segtrain.checkpoints import load_network, read_checkpoint
from segtrain.config import FitConfig
from segtrain.errors import DataError
from segtrain.fit.training import fit
from segtrain.losses.objective import LabelObjective, StepOutput
from segtrain.losses.registry import LOSSES
from segtrain.losses.settings import LossSettings
from segtrain.models.pspnet import PSPNet

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "output_stride": 16,
    "class_uniform_tile": 64,
    "crop": (64, 64),
    "batch_size": 2,
    "epochs": 1,
    "epoch_length": 4,
    "loss": "cross-entropy",
    "learning_rate": 0.01,
    "loader_workers": 0,
    "device": "cpu",
    "val_split": None,
}


def test_auxiliary_outputs_are_trained_by_their_weight(street: Path, tmp_path: Path) -> None:
    config = FitConfig(root=street, out=tmp_path / "run", network="pspnet18", momentum=0.9, **TINY)
    fit(config)
    without = replace(config, auxiliary=0.0, weight_decay=0.0, out=tmp_path / "without")
    fit(without)
    heads = [name for name, _ in PSPNet("pspnet18", num_classes=19, output_stride=16).named_parameters()]
    number = heads.index("aux.4.weight")
    moments = [checkpoint(out)["optimiser"]["state"][number]["momentum_buffer"] for out in (config.out, without.out)]
    assert moments[0].abs().max() > 0
    assert moments[1].abs().max() == 0
    assert '"loss/auxiliary"' in (config.out / "log.jsonl").read_text()
    assert isinstance(load_network(read_checkpoint(config.out / "last.safetensors")), PSPNet)


@dataclass(frozen=True, kw_only=True)
class Steady:
    """Cross entropy, and how much the scores and the context of the frames beside an annotated one differ from its."""

    labels: LabelObjective
    seen: list[StepOutput]
    offsets: tuple[int, ...] = (-1, 2)
    features: tuple[str, ...] = ("context",)

    def __call__(self, output: StepOutput) -> Losses:
        self.seen.append(output)
        losses = self.labels(output)
        change = torch.stack([self._change(output, number) for number in range(len(output.neighbours))]).mean()
        return Losses(losses.total + change, {**losses.terms, "loss/change": change})

    @staticmethod
    def _change(output: StepOutput, number: int) -> Tensor:
        other = output.neighbours[number]
        return (output.logits - other.logits).square().mean() + (
            output.features["context"] - other.features["context"]
        ).square().mean()


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> list[StepOutput]:
    """A loss of that name, known to the trainer; and what its objective is given."""
    seen: list[StepOutput] = []

    def open_steady(settings: LossSettings) -> Steady:
        return Steady(labels=LOSSES["cross-entropy"](settings), seen=seen)  # type: ignore[arg-type]

    monkeypatch.setitem(LOSSES._things, "steady", open_steady)
    return seen


def test_an_objective_may_ask_for_frames_and_features(steady: list[StepOutput], street: Path, tmp_path: Path) -> None:
    """Without a change of the loop: the network sees all frames, and the gradient goes through each of them."""
    config = FitConfig(root=street, out=tmp_path / "run", network="mobilenetv2", **{**TINY, "loss": "steady"})
    assert fit(config).steps == 2
    assert len(steady) == 2
    output = steady[0]
    assert output.batch.neighbours is not None
    assert output.batch.neighbours.shape == (2, 2, 3, 64, 64)
    assert len(output.neighbours) == 2
    assert [set(each.features) for each in (output, *output.neighbours)] == [{"context"}] * 3
    assert all(each.logits.requires_grad for each in output.neighbours)
    assert not torch.equal(output.logits, output.neighbours[0].logits)
    assert '"loss/change"' in (config.out / "log.jsonl").read_text()


def test_an_objective_is_told_the_epoch(steady: list[StepOutput], street: Path, tmp_path: Path) -> None:
    """Counted from 0: labels are relaxed until one of them, say."""
    settings = {**TINY, "loss": "steady", "epochs": 2}
    fit(FitConfig(root=street, out=tmp_path / "run", network="mobilenetv2", **settings))
    assert [output.epoch for output in steady] == [0, 0, 1, 1]


@pytest.mark.usefixtures("steady")
def test_frames_that_are_not_there_are_told_of(street: Path, tmp_path: Path) -> None:
    """Of a folder that holds annotated frames alone."""
    root = tmp_path / "root"
    for kind in ("gtFine", "leftImg8bit_sequence"):
        for path in (street / kind).rglob("*_000019_*.png"):
            link = root / kind / path.relative_to(street / kind)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    config = FitConfig(root=root, out=tmp_path / "run", network="mobilenetv2", **{**TINY, "loss": "steady"})
    with pytest.raises(DataError, match=r"no sample of 3 has all its neighbours, at -1, \+2 from its own frame"):
        fit(config)
