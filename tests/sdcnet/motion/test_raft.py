"""RAFT as an estimator of motion: what it computes, how often, what it refuses, and a run with it."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from helpers.networks import filled_raft
from torch import Tensor

from jobs.training import runtime as runtime_module
from jobs.training.runtime import Runtime
from sdcnet.errors import MotionError
from sdcnet.motion.estimator import Observation, ObservedPixels, Step
from sdcnet.motion.raft import RaftMotion
from sdcnet.motion.registry import MotionSettings, open_estimator
from sdcnet.networks.checkpoints import save_network
from sdcnet.networks.raft import RAFT

SIZE = (128, 136)
CPU = Runtime(device=torch.device("cpu"))
FORWARD = [Step((k - 1,), k) for k in range(1, 5)]
BACKWARD = [Step((1 - k,), -k) for k in range(1, 4)]


@pytest.fixture(scope="module")
def network() -> RAFT:
    return filled_raft("small")


@pytest.fixture(scope="module")
def weights(network: RAFT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "raft_small.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def observations() -> dict[int, Observation]:
    generator = torch.Generator().manual_seed(0)
    offsets = range(-3, 5)
    frames = torch.randint(0, 256, (len(offsets), 3, *SIZE), dtype=torch.uint8, generator=generator)
    return {offset: ObservedPixels(frame) for offset, frame in zip(offsets, frames.split(1), strict=True)}


class Counted:
    """How many frames each encoder of a network is given, call by call."""

    def __init__(self, network: RAFT, monkeypatch: pytest.MonkeyPatch) -> None:
        self.features: list[int] = []
        self.contexts: list[int] = []
        for name, counts in (("features", self.features), ("context", self.contexts)):
            monkeypatch.setattr(network, name, self._counting(getattr(network, name), counts))

    @staticmethod
    def _counting(encode: Callable[[Tensor], Tensor], counts: list[int]) -> Callable[[Tensor], Tensor]:
        def count(frames: Tensor) -> Tensor:
            counts.append(len(frames))
            return encode(frames)

        return count


@pytest.mark.parametrize("at_a_time", [1, 3, 100])
def test_the_features_of_a_frame_are_computed_once_for_a_clip(
    network: RAFT, observations: Mapping[int, Observation], at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "PIXELS_AT_A_TIME", {"cpu": at_a_time * SIZE[0] * SIZE[1]})
    counted = Counted(network, monkeypatch)
    estimator = RaftMotion(network, CPU, {})
    flows = [*estimator.estimate(observations, FORWARD), *estimator.estimate(observations, BACKWARD)]
    assert sum(counted.features) == len(observations)  # the annotated frame's serve both walks
    assert sum(counted.contexts) == len(FORWARD) + len(BACKWARD)
    assert max(counted.contexts) == min(at_a_time, 4)
    for step, flow in zip([*FORWARD, *BACKWARD], flows, strict=True):
        assert (flow.shape, flow.dtype) == ((1, 2, *SIZE), torch.float32)
        alone = network(observations[step.target].pixels, observations[step.source].pixels)
        torch.testing.assert_close(flow, alone, atol=2e-4, rtol=0)


def test_features_of_another_clip_are_not_taken_for_this_ones(
    network: RAFT, observations: dict[int, Observation]
) -> None:
    estimator = RaftMotion(network, CPU, {})
    list(estimator.estimate(observations, FORWARD[:1]))
    other = {**observations, 0: observations[-1]}
    (flow,) = estimator.estimate(other, FORWARD[:1])
    torch.testing.assert_close(flow, network(other[1].pixels, other[0].pixels), atol=2e-4, rtol=0)


def test_a_flow_is_there_before_the_next_is_begun(
    network: RAFT, observations: Mapping[int, Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "PIXELS_AT_A_TIME", {"cpu": 1})
    counted = Counted(network, monkeypatch)
    next(RaftMotion(network, CPU, {}).estimate(observations, FORWARD))
    assert counted.contexts == [1]
    assert list(RaftMotion(network, CPU, {}).estimate({}, [])) == []


def test_the_fingerprint_holds_what_decides_the_numbers(weights: Path) -> None:

    fingerprint = open_estimator(MotionSettings(name="raft-small", raft_weights=weights)).fingerprint
    assert fingerprint == {
        "motion": "raft-small",
        "dtype": "float32",
        "raft_weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "num_updates": 12,
    }


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        (
            "raft",
            False,
            "motion 'raft' needs the weights of a large RAFT: give them with --raft-weights, .*--motion dis",
        ),
        ("raft-small", False, "motion 'raft-small' needs the weights of a small RAFT"),
        ("raft", True, "holds a small RAFT, whose motion is 'raft-small'; ask for that"),
        ("flownet2", True, "motion 'flownet2' has no setting raft_weights; leave it out"),
    ],
)
def test_settings_that_cannot_work(name: str, given: bool, text: str, weights: Path) -> None:
    with pytest.raises(MotionError, match=text):
        open_estimator(MotionSettings(name=name, raft_weights=weights if given else None))


@pytest.mark.parametrize(("motion", "variant"), [("raft", "large"), ("raft-small", "small")])
def test_labels_are_carried_from_the_command_line(
    motion: str, variant: str, cli: Callable[..., subprocess.CompletedProcess[str]], street: Path, tmp_path: Path
) -> None:
    save_network(tmp_path / "raft.safetensors", filled_raft(variant), about={})
    args = ["run", "--root", street, "--out", tmp_path / "out", "--frames", 1, "--limit", 1, "--engine", "local"]
    result = cli(*args, "--motion", motion, "--raft-weights", tmp_path / "raft.safetensors", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["samples"] == 3
