"""What a training is asked for arrives where it is used: each part is tested by itself elsewhere."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.runs import checkpoint
from torch import nn

from jobs.training.runtime import Runtime, open_runtime
from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from segtrain.checkpoints import read_checkpoint, save_network
from segtrain.config import FitConfig
from segtrain.data.sampling import Sampling
from segtrain.data.transforms import Augmentation
from segtrain.errors import DataError
from segtrain.fit import task as task_module
from segtrain.fit.consistency import DistillationTeacher
from segtrain.fit.labelled import augmentation_of, open_state
from segtrain.fit.sources import open_sampling, open_sources
from segtrain.fit.task import Outputs, new_network
from segtrain.fit.training import fit
from segtrain.fit.validation import ValidationScores
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network

CITYSCAPES = load_classes("cityscapes")
FRAME = torch.randint(0, 256, (2, 3, 32, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def asking(**settings: Any) -> FitConfig:
    return FitConfig(root=Path("data"), out=Path("run"), network="mobilenetv2", output_stride=16, **settings)


def saved(path: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network("mobilenetv2", num_classes=19, output_stride=16)
    save_network(path, network, classes=CITYSCAPES, about={})
    return path


def test_the_network_and_its_teacher_see_normalised_frames(tmp_path: Path) -> None:
    weights = saved(tmp_path / "teacher.safetensors", 0)
    network = new_network(asking(weights=weights), CITYSCAPES.train_names).eval()
    expected = network.outputs(normalised(FRAME), ("decoder",))
    (found,) = Outputs(network, ("decoder",))(FRAME)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-3, atol=1e-4)
    settings = asking(teacher=weights, distill_frame=1.0)
    teacher = DistillationTeacher(settings, CITYSCAPES, open_runtime("cpu"), ("decoder",))
    (features,) = teacher([FRAME])
    torch.testing.assert_close(features["decoder"], expected.features["decoder"], rtol=1e-3, atol=1e-4)


def test_weights_of_a_trunk_are_begun_with(tmp_path: Path) -> None:
    other = saved(tmp_path / "other.safetensors", 1)
    expected = read_checkpoint(other).tensors
    found = new_network(asking(trunk_weights=other), CITYSCAPES.train_names)
    own = new_network(asking(), CITYSCAPES.train_names).state_dict()
    for name, tensor in found.state_dict().items():
        is_trunk = name.split(".")[0] in found.stage_names
        assert torch.equal(tensor, expected[name] if is_trunk else own[name]), name


def test_everything_that_an_epoch_is_made_of() -> None:
    asked: dict[str, Any] = {
        "class_uniform": 0.4,
        "class_uniform_until": 3,
        "coarse_classes": ("bus",),
        "boost": {"pole": 2.0},
        "propagated": 0.3,
        "propagated_until": 4,
        "pseudo": 0.2,
        "max_offset": 2,
        "min_score": 0.7,
    }
    others: dict[str, Any] = {"epoch_length": 12, "coarse_split": "train_extra", "shards": (Path("store"),)}
    pole, bus = (CITYSCAPES.train_names.index(name) for name in ("pole", "bus"))
    expected = {**asked, "boost": {pole: 2.0}, "coarse_classes": (bus,), "length": 12}
    assert {*expected, "offsets"} == {field.name for field in fields(Sampling)}
    assert open_sampling(asking(**asked, **others), CITYSCAPES) == Sampling(**expected)
    exactly = {"max_offset": None, "offsets": (-1, 0, 1)}  # of these two there can be one
    assert open_sampling(asking(**{**asked, **exactly}, **others), CITYSCAPES) == Sampling(**{**expected, **exactly})


def test_everything_that_happens_to_a_crop() -> None:
    asked: dict[str, Any] = {"crop": (40, 56), "scale": (0.75, 1.5), "flip": False, "colour": 0.1, "blur": False}
    asked["rotation"] = 5.0
    assert asked.keys() == {field.name for field in fields(Augmentation)}
    assert augmentation_of(asking(**asked)) == Augmentation(**asked)


def test_a_gradient_is_clipped_and_momentum_decay_and_average_are_those_asked_for() -> None:
    """One step of a layer whose gradient is 4 times as long as is allowed."""
    layer = nn.Linear(1, 1, bias=False)
    before = layer.weight.item()
    settings = asking(momentum=0.5, weight_decay=0.25, clip_gradient=1.0, average=0.5)
    state = open_state(layer, settings, Runtime(device=torch.device("cpu")))  # type: ignore[arg-type]
    places = []
    for _ in range(2):
        loss = 4 * layer.weight.sum()
        state.backward(loss)
        state.update(0.1, loss.detach())
        places.append(layer.weight.item())
    first = 1 + 0.25 * before
    second = 0.5 * first + 1 + 0.25 * places[0]
    assert places == pytest.approx([before - 0.1 * first, before - 0.1 * (first + second)])
    assert state.average.weight.item() not in (before, places[1])


def test_pixels_below_the_confidence_that_is_asked_for_are_not_trained_on(
    save_store: Callable[..., Path], make_sample: Callable[..., Sample], tmp_path: Path
) -> None:
    sample = make_sample(1)
    store = save_store([[sample]], load_classes("camvid"))
    for least in (0.0, 0.5):
        training, _ = open_sources(FitConfig(shards=(store,), out=tmp_path / "run", min_confidence=least))
        is_doubtful = sample.confidence < 15 * least
        label = training.read(0).label
        assert (label[is_doubtful] == 255).all()
        assert (label[~is_doubtful] != 255).any()


def test_images_are_validated_in_the_windows_that_are_asked_for(
    config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = set[tuple[int, ...]]()

    class SeenError(Exception):
        pass

    def segment(network: object, image: np.ndarray, inference: object, runtime: object) -> np.ndarray:  # noqa: ARG001
        sizes.add(inference.window)  # type: ignore[attr-defined]
        raise SeenError

    monkeypatch.setattr("segtrain.fit.validation.segment", segment)
    with pytest.raises(SeenError):
        fit(replace(config, epochs=1, epoch_length=2, val_window=(48, 80)))
    assert sizes == {(48, 80)}


def scored(miou: float) -> ValidationScores:
    return ValidationScores(miou=miou, accuracy=0.5, iou={}, num_images=1)


def test_the_best_network_is_that_of_the_best_validation(config: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    of_epochs = iter([scored(0.5), scored(0.4)])
    monkeypatch.setattr(task_module, "validate", lambda *_: next(of_epochs))
    summary = fit(replace(config, epoch_length=2))
    best, last = (read_checkpoint(config.out / f"{name}.safetensors").description for name in ("best", "last"))
    assert best is not None
    assert last is not None
    assert (summary.best, best.about["scores"]["miou"], last.about["scores"]["miou"]) == (0.5, 0.5, 0.4)
    assert (best.about["steps"], last.about["steps"]) == (1, 2)


def test_a_validation_that_fails_leaves_the_checkpoint_before_it(
    config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_epochs = iter([scored(0.5)])

    def validate(*_: object) -> ValidationScores:
        try:
            return next(of_epochs)
        except StopIteration:
            raise DataError("a frame is gone") from None

    monkeypatch.setattr(task_module, "validate", validate)
    with pytest.raises(DataError, match="a frame is gone"):
        fit(replace(config, epoch_length=2))
    assert checkpoint(config.out)["step"] == 1
