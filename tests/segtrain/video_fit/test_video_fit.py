"""Trainings of schemes for video: on synthetic streets, resumed, and on a base that stays as it was."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.crews import launch_spawned

from jobs.errors import FitError, RunFolderError
from jobs.training import loop
from jobs.training.runtime import open_runtime
from propagate.data.classes import load_classes
from propagate.data.clip import Clip
from segtrain.checkpoints import save_network
from segtrain.cli.main import main
from segtrain.config import BEST, LAST
from segtrain.errors import DataError
from segtrain.fit.recipes import load_recipe, recipe_names
from segtrain.fit.sources import WEIGHTS
from segtrain.models.registry import build_network
from segtrain.trained import open_trained
from segtrain.video.clips import read_clip
from segtrain.video.learnt import describe_learnt, digest_of, open_learnt
from segtrain.video.registry import LEARNT
from segtrain.video.twnet import TWNet
from segtrain.video_fit.config import VideoFitConfig
from segtrain.video_fit.task import VideoTask
from segtrain.video_fit.training import fit_video

pytestmark = pytest.mark.slow

CPU = open_runtime("cpu")
TINY: dict[str, Any] = {
    "crop": (64, 64),
    "batch_size": 2,
    "epochs": 2,
    "epoch_length": 4,
    "class_uniform_tile": 64,
    "learning_rate": 0.01,
    "interval": 2,
    "loader_workers": 0,
    "device": "cpu",
}


def config(weights: Path, roads: Path, out: Path, **settings: Any) -> VideoFitConfig:
    tiny = {name: value for name, value in TINY.items() if name != "interval" or settings.get("scheme") != "netwarp"}
    return VideoFitConfig(base=weights, root=roads, out=out, **{**tiny, **settings})


@pytest.mark.parametrize("scheme", ["twnet", "netwarp"])
def test_an_interrupted_training_goes_on_to_the_same_file(
    weights: Path, roads: Path, tmp_path: Path, scheme: str
) -> None:
    """And changes the modules and the copies, but nothing of the base."""

    class StoppedError(Exception):
        pass

    def stopping(self: VideoTask, output: Any) -> Any:
        if self.state.step == 2:
            raise StoppedError
        return losses(self, output)

    losses = VideoTask.losses
    whole = config(weights, roads, tmp_path / "whole", scheme=scheme, validate_every=2)
    stopped = replace(whole, out=tmp_path / "stopped", save_every=1)
    summary = fit_video(whole)
    assert summary.scores is not None
    assert summary.scores.num_images == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoTask, "losses", stopping)
        with pytest.raises(StoppedError):
            fit_video(stopped)
    assert not (stopped.out / BEST).exists()
    assert fit_video(stopped).steps == 4
    for name in (LAST, BEST):
        assert (stopped.out / name).read_bytes() == (whole.out / name).read_bytes()
    base = open_trained(weights, CPU).network
    learnt, fresh = open_learnt(whole.out / LAST, base, LEARNT), LEARNT[scheme].on(base, whole.scheme_settings)
    changed = {
        name.partition(".")[0]
        for (name, now), before in zip(learnt.named_parameters(), fresh.parameters(), strict=True)
        if not torch.equal(now, before)
    }
    assert changed == {"copies", {"twnet": "corrections", "netwarp": "mixings"}[scheme]}
    assert describe_learnt(whole.out / LAST).base_sha256 == digest_of(base)
    assert list(describe_learnt(whole.out / LAST).about["findings"]) == ["context"]


def test_few_clips_are_validated_far_from_their_key_frames(
    weights: Path, roads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the key frame itself nothing that was learnt shows; and what is not scored is not read."""
    read: list[list[int]] = []

    def noted(clip: Clip, *args: Any) -> Any:
        read.append(sorted(clip.frames))
        return read_clip(clip, *args)

    monkeypatch.setattr("segtrain.video_fit.task.read_clip", noted)
    fit_video(config(weights, roads, tmp_path / "run", epochs=1, interval=3))
    assert read == [[-2, -1, 0]]


def test_several_frames_are_unrolled_and_consistency_is_of_all(weights: Path, roads: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    follow_clip = TWNet.follow_clip

    def counted(self: TWNet, images: Any, motions: Any) -> Any:
        seen.append(len(motions))
        assert len(images) == len(motions) + 1
        assert not torch.equal(images[0], images[1])
        return follow_clip(self, images, motions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TWNet, "follow_clip", counted)
        fit_video(config(weights, roads, tmp_path / "run", unroll=3, epochs=1, val_split=None, gate="occlusion"))
    assert seen == [3, 3]
    assert "loss/consistency" in (tmp_path / "run" / "log.jsonl").read_text()


def test_two_members_learn_as_one_does(
    weights: Path, roads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "launch", launch_spawned)
    one = config(weights, roads, tmp_path / "one", epochs=1, val_split=None, optimiser="sgd", learning_rate=0.001)
    two = replace(one, out=tmp_path / "two", workers=2)
    for each in (one, two):
        fit_video(each)
    base = open_trained(weights, CPU).network
    alone, together = (open_learnt(each.out / LAST, base, LEARNT).state_dict() for each in (one, two))
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_command_trains_and_another_evaluates_what_it_has_left(weights: Path, roads: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = f"video fit --recipe twnet-tiny --base {weights} --root {roads} --out {out} --crop 64x64 --epochs 1"
    arguments += " --epoch-length 2 --batch-size 2 --class-uniform-tile 64 --loader-workers 0 --device cpu --interval 2"
    result = CliRunner().invoke(main, [*arguments.split(), "--motion", "codec", "--transcode", "mpeg4"])
    assert result.exit_code == 0, result.output
    assert "twnet on mobilenetv2 on cpu, 2 samples, 1 steps" in result.stderr
    assert f"{out / LAST}: at context: weights of the correction" in result.stdout
    evaluation = f"video evaluate {weights} --root {roads} --scheme {out / BEST} --interval 2 --device cpu --json"
    result = CliRunner().invoke(main, evaluation.split())
    assert result.exit_code == 0, result.output
    assert f'"scheme": "twnet {out}/best interval=2"' in result.stdout
    result = CliRunner().invoke(main, [*arguments.split(), "--fine-tune"])
    assert result.exit_code == 1
    assert "twnet" not in result.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": ("layer3",)}, "scheme 'twnet' on mobilenetv2: the decoder goes on from more than layer3"),
        ({"unroll": 20}, "no sample of .* has all its neighbours"),
        ({"interval": 30}, "none has 29 frames before it"),
    ],
)
def test_what_cannot_be_trained_is_said_before_it_begins(
    weights: Path, roads: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises((FitError, DataError), match=message):
        fit_video(config(weights, roads, tmp_path / "run", **settings))
    assert not (tmp_path / "run").exists()


def test_another_base_does_not_go_on_with_a_training(weights: Path, roads: Path, tmp_path: Path) -> None:
    begun = config(weights, roads, tmp_path / "run", epochs=1, val_split=None)
    fit_video(begun)
    same = tmp_path / "same.safetensors"
    same.write_bytes(weights.read_bytes())
    fit_video(replace(begun, base=same))
    other = tmp_path / "other.safetensors"
    save_network(other, build_network("mobilenetv2"), classes=load_classes("cityscapes"), about={})
    with pytest.raises(RunFolderError, match=r"base: SHA-256 \w+… then, SHA-256 \w+… now"):
        fit_video(replace(begun, base=other))
    with pytest.raises(RunFolderError, match="gate"):
        fit_video(replace(begun, gate="occlusion"))


def test_every_file_of_weights_counts_by_its_content() -> None:
    """A path among the settings could not be recorded, and would say nothing."""
    paths = {each.name for each in fields(VideoFitConfig) if "Path" in str(each.type) and "weights" in each.name}
    assert paths == {"flownet2_weights", "raft_weights"}
    assert paths <= set(WEIGHTS)


def test_settings_of_the_other_scheme_are_refused() -> None:
    for settings, option in (
        ({"scheme": "netwarp", "unroll": 2}, "--unroll"),
        ({"scheme": "netwarp", "residual": "signed"}, "--residual"),
        ({"scheme": "twnet", "flow_cnn": "paper"}, "--flow-cnn"),
    ):
        with pytest.raises(ValueError, match=f"has no {option}; leave it out"):
            VideoFitConfig(base=Path("base"), root=Path("street"), out=Path("run"), **settings)
    with pytest.raises(ValueError, match=r"frames by themselves have no vectors of a codec; .*--transcode mpeg4"):
        VideoFitConfig(base=Path("base"), root=Path("street"), out=Path("run"), motion="codec")


@pytest.mark.parametrize("name", recipe_names(VideoFitConfig))
def test_recipes_are_trainings(name: str) -> None:
    settings = load_recipe(name, VideoFitConfig)
    assert settings["scheme"] == name.partition("-")[0]
    VideoFitConfig(base=Path("base"), root=Path("street"), out=Path("run"), **settings)
