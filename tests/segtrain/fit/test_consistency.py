"""Trainings with terms of consistency: resumed exactly, watched, and what is said where something is missing."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.runs import assert_equal_runs, checkpoint, lines

from jobs.errors import CheckpointError, FitError, RunFolderError
from propagate.data.classes import load_classes
from sdcnet.motion.registry import MotionSettings, open_estimator
from segtrain.checkpoints import read_checkpoint, save_network
from segtrain.config import FitConfig
from segtrain.data.batches import Batch
from segtrain.errors import DataError
from segtrain.fit.consistency import motion_of
from segtrain.fit.task import Outputs, SegmentationTask
from segtrain.fit.training import fit
from segtrain.models.registry import build_network
from segtrain.page.page import PAGE

pytestmark = pytest.mark.slow

ALL_TERMS: dict[str, Any] = {
    "network": "pspnet-mobilenetv2",
    "clip_frames": 3,
    "sequence_pool": 2,
    "sequence_encoder": "trained",
    **dict.fromkeys(("temporal", "distill_frame", "distill_pairs", "distill_sequence", "distill_similarity"), 0.5),
}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = build_network("mobilenetv2", num_classes=19, output_stride=16)
    save_network(tmp_path / "teacher.safetensors", network, classes=load_classes("cityscapes"), about={})
    return tmp_path / "teacher.safetensors"


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Have the steps from this one on, counted from 0, end in Ctrl-C; None lets them be again."""

    def at(step: int | None) -> None:
        forward = SegmentationTask.forward

        def interrupted(task: SegmentationTask, network: Any, batch: Batch) -> Any:
            if task.state.step == step:
                raise KeyboardInterrupt
            return forward(task, network, batch)

        monkeypatch.undo()
        if step is not None:
            monkeypatch.setattr(SegmentationTask, "forward", interrupted)

    return at


def test_an_interrupted_training_with_all_terms_goes_on_to_the_same_weights(
    config: FitConfig, teacher: Path, tmp_path: Path, interrupt: Callable[[int | None], None]
) -> None:
    """Of two epochs of three steps, of which the terms count in the second; the cache was filled by the other one."""
    cache = tmp_path / "flows"
    whole = replace(config, **ALL_TERMS, teacher=teacher, average=0.9, flow_cache=cache, consistency_from=1)
    cut = replace(whole, out=tmp_path / "cut", save_every=1, loader_workers=1)
    fit(whole)
    interrupt(5)
    with pytest.raises(KeyboardInterrupt):
        fit(cut)
    assert checkpoint(cut.out)["step"] == 5
    interrupt(None)
    said: list[str] = []
    fit(cut, lambda advance: said.append(advance.line or ""))
    assert_equal_runs(whole.out, cut.out)
    assert not any("flows are estimated" in line for line in said)
    assert "Gates" not in str(read_checkpoint(whole.out / "last.safetensors").tensors.keys())

    first, second = (line for line in lines(whole.out) if "loss" in line)
    assert not [name for name in first if name.startswith(("loss/distill", "watch/"))]
    assert {f"loss/{name}" for name in ALL_TERMS if f"{name}".startswith(("temporal", "distill"))} <= second.keys()
    assert {"watch/entropy", "watch/logit_norm", "watch/classes", "watch/teacher_variance"} <= second.keys()
    assert second["loss"] > first["loss/auxiliary"] > 0
    assert all(0 <= line["tc"] <= 1 for line in lines(whole.out) if "miou" in line)
    page = (whole.out / PAGE).read_text(encoding="utf-8")
    for name in ("Temporal consistency", "Entropy of predictions, nats", "Variance of the teacher&#39;s embedding"):
        assert name in page

    with pytest.raises(RunFolderError, match="flow_cache: used then, None now"):
        fit(replace(cut, flow_cache=None))
    with pytest.raises(RunFolderError, match="gap: 3 then, 2 now"):
        fit(replace(cut, gap=2, flow_cache=tmp_path / "others"))
    assert not (tmp_path / "others").exists()


def test_steps_without_a_neighbour_have_no_terms_of_any(config: FitConfig, roads: Path, tmp_path: Path) -> None:
    """One of two annotated frames has neighbours, and a step sees one of them: the log is of the steps that had it."""
    some = tmp_path / "some"
    for path in (*(roads / "gtFine").rglob("*.png"), *(roads / "leftImg8bit_sequence").rglob("*.png")):
        if "_000001_" not in path.name or "_000019_" in path.name:
            link = some / path.relative_to(roads)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    config = replace(config, root=some, temporal=1.0, class_uniform=0.0, val_split=None, freeze_batch_norm=True)
    config = replace(config, epochs=1, epoch_length=8)
    for name, parts in (("one", 1), ("two", 2)):
        out = tmp_path / name
        fit(replace(config, batch_size=parts, accumulate=parts, out=out))
        (line,) = (line for line in lines(out) if "loss" in line)
        assert line["loss/temporal"] > 0
        assert line["watch/entropy"] > 0


def test_a_teacher_of_single_frames_needs_no_video(
    config: FitConfig, teacher: Path, roads: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    for path in (*(roads / "gtFine").rglob("*.png"), *(roads / "leftImg8bit_sequence").rglob("*_000019_*.png")):
        link = alone / path.relative_to(roads)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    config = replace(config, root=alone, epochs=1, distill_frame=1.0, clip_frames=1, teacher=teacher, val_split=None)
    fit(config)
    (line,) = (line for line in lines(config.out) if "loss" in line)
    assert line["loss/distill_frame"] > 0


def test_motion_is_found_on_the_crops_where_no_cache_is(config: FitConfig) -> None:
    config = replace(config, temporal=1.0, epochs=1, average=0.0, val_split=None)
    fit(config)
    (line,) = (line for line in lines(config.out) if "loss" in line)
    assert line["loss/temporal"] > 0


def test_motion_of_a_batch_leaves_out_what_shows_no_image_and_what_moves_there() -> None:
    """Frames that move by 4 pixels to the right, of which the last 8 columns are padding."""
    frame = torch.randint(0, 256, (1, 3, 64, 104), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    frame = torch.nn.functional.avg_pool2d(frame.float(), 5, 1, 2).byte()
    image, neighbour = frame[..., 4:100].clone(), frame[..., :96].clone()
    shown = torch.ones(1, 64, 96, dtype=torch.bool)
    shown[..., 88:] = False
    batch = Batch(image, torch.zeros(1, 64, 96, dtype=torch.uint8), neighbour[:, None], shown)
    motion, host = open_estimator(MotionSettings()), torch.device("cpu")
    found = motion_of(batch, motion, host)
    assert found.flows is not None
    assert found.seen is not None
    assert found.flows[0, 0, 0, 8:-8, 8:80].median().item() == pytest.approx(4, abs=0.2)
    assert not found.seen[0, 0, :, 85:].any()
    assert found.seen[0, 0, 8:-8, 8:76].float().mean() > 0.9
    known = motion_of(batch._replace(flows=torch.zeros(1, 1, 2, 64, 96), seen=shown[:, None]), motion, host)
    assert known.seen is not None
    assert torch.equal(known.seen[:, 0], shown)


@pytest.mark.parametrize(("dropout", "differs"), [("shared", False), ("none", False), ("apart", True)])
def test_dropout_is_of_the_same_channels_in_all_frames_unless_asked_otherwise(dropout: str, differs: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network("pspnet-mobilenetv2", num_classes=3, output_stride=16).train()
        frame = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
        outputs = Outputs(network, (), dropout=dropout)
        one, other = outputs(frame, frame)
        assert torch.equal(one.logits, other.logits) != differs
        (alone,), (again,) = outputs(frame), outputs(frame)
        assert not torch.equal(alone.logits, again.logits)


def test_only_the_annotated_frame_gives_a_gradient_where_no_more_is_needed() -> None:
    network = build_network("mobilenetv2", num_classes=3, output_stride=16)
    frames = torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8).unbind(1)
    for alone in (False, True):
        annotated, neighbour = Outputs(network, (), only_annotated_learns=alone)(*frames)
        assert annotated.logits.requires_grad
        assert neighbour.logits.requires_grad != alone


def test_layers_after_the_trunk_may_learn_faster(config: FitConfig) -> None:
    config = replace(config, epochs=1, epoch_length=2, val_split=None, head_rate=10.0, schedule="cosine")
    fit(config)
    groups = checkpoint(config.out)["optimiser"]["param_groups"]
    assert groups[1]["lr"] == pytest.approx(10 * groups[0]["lr"])
    network = build_network("mobilenetv2", num_classes=19, output_stride=16)
    in_trunk = sum(1 for name, _ in network.named_parameters() if name.partition(".")[0] in network.stage_names)
    assert len(groups[0]["params"]) == in_trunk


def refused(config: FitConfig, error: type[Exception], message: str, **settings: Any) -> None:
    with pytest.raises(error, match=message):
        fit(replace(config, **settings))
    assert not (config.out / "checkpoint.pt").exists()


def test_what_is_missing_or_unfit_is_said_in_a_sentence(
    config: FitConfig, teacher: Path, tmp_path: Path, roads: Path
) -> None:
    taught = {"distill_frame": 1.0}
    refused(config, CheckpointError, "gone.pth: cannot be read", **taught, teacher=tmp_path / "gone.pth")
    other = tmp_path / "camvid.safetensors"
    save_network(
        other,
        build_network("mobilenetv2", num_classes=11, output_stride=16),
        classes=load_classes("camvid"),
        about={},
    )
    refused(config, CheckpointError, "scores 11 classes, class table 'cityscapes' has 19", **taught, teacher=other)
    bordered = {"distill_similarity": 1.0, "network": "fcn8s", "output_stride": 8}
    refused(config, FitError, "the network, fcn8s, sees a border", **bordered, teacher=teacher)
    with pytest.raises(ValueError, match="from epoch 2, counted from 0, of 2: never; give an earlier"):
        replace(config, temporal=1.0, consistency_from=2)
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "method.json").write_text('{"motion": "raft"}', encoding="utf-8")
    refused(config, DataError, "flows of another method", temporal=1.0, flow_cache=flows)

    alone = tmp_path / "alone"
    shutil.copytree(roads, alone)
    for frame in (alone / "leftImg8bit_sequence").rglob("*.png"):
        if "_000019_" not in frame.name:
            frame.unlink()
    message = r"no sample of 2 has the neighbours that consistency terms need, at -1 or \+1 or -2"
    refused(config, DataError, message, temporal=1.0, root=alone)
    message = r"at -1 and \+1 or -2 and \+2 or -3 and \+3 from its own frame; add the frames around the annotated ones"
    refused(config, DataError, message, temporal=1.0, root=alone, clip_frames=3)
