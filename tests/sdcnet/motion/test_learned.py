"""Estimators that are networks: what they are fed, how often they run, and what they refuse."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from golden.fill import fill
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.training import runtime as runtime_module
from jobs.training.runtime import Runtime
from sdcnet.errors import MotionError
from sdcnet.motion import pair_flow
from sdcnet.motion.estimator import Observation, ObservedPixels, Step
from sdcnet.motion.learned import FlowNet2Motion, PredictedMotion
from sdcnet.motion.pair_flow import DisPairs, FlowNet2Pairs, open_pair_flow
from sdcnet.motion.registry import MotionSettings, open_estimator
from sdcnet.networks.checkpoints import Checkpoint, save_network
from sdcnet.networks.flownet2 import FlowNet2
from sdcnet.networks.predictor import SDCNet2D, SDCNet2DRecon, VideoPredictor

SIZE = (48, 80)
CPU = Runtime(device=torch.device("cpu"))
FORWARD = [Step((k - 2, k - 1), k) for k in range(1, 6)]


def make_frames(offsets: Iterable[int]) -> dict[int, Tensor]:
    """Frames that tell their offset by their first pixel, 100 + offset in all colours, and are noise besides."""
    frames = {}
    for offset in offsets:
        generator = torch.Generator().manual_seed(offset + 10)
        frames[offset] = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=generator)
        frames[offset][..., 0, 0] = 100 + offset
    return frames


def observed(frames: Mapping[int, Tensor]) -> dict[int, Observation]:
    return {offset: ObservedPixels(frame) for offset, frame in frames.items()}


class CountedFlow:
    """DIS, which remembers the pairs of offsets it was asked for, call by call."""

    fingerprint: Mapping[str, object] = {"input_flow": "dis"}

    def __init__(self) -> None:
        self.calls: list[list[tuple[int, int]]] = []

    def __call__(self, targets: Tensor, sources: Tensor) -> Tensor:
        first_pixels = ((frames[:, 0, 0, 0].int() - 100).tolist() for frames in (targets, sources))
        self.calls.append(list(zip(*first_pixels, strict=True)))
        return DisPairs()(targets, sources)


def filled(network: VideoPredictor) -> VideoPredictor:
    fill(network.requires_grad_(False))
    return network.eval()


@pytest.fixture(scope="module")
def recon() -> VideoPredictor:
    return filled(SDCNet2DRecon(width=0.1))


def by_hand(network: VideoPredictor, frames: Mapping[int, Tensor], step: Step) -> Tensor:
    """The displacement of one step, without anything shared."""
    offsets = (*step.history, step.target) if network.sees_target else step.history
    seen = [frames[offset] for offset in offsets]
    flows = [DisPairs()(later, earlier) for earlier, later in pairwise(seen)]
    return network.displacement(torch.stack(seen, dim=1).flip(2), torch.stack(flows, dim=1))


def test_copies_for_a_flow_of_the_host_are_counted() -> None:
    runtime, frames = Runtime(device=torch.device("cpu")), make_frames(range(3))
    targets, sources = torch.cat((frames[1], frames[2])), torch.cat((frames[0], frames[1]))
    found = open_pair_flow("dis", None, runtime, runtime.transfers)(targets, sources)
    assert torch.equal(found, DisPairs()(targets, sources))
    transfers = runtime.transfers
    assert (transfers.down, transfers.bytes_down) == (2, targets.nbytes + sources.nbytes)
    assert (transfers.up, transfers.bytes_up) == (1, found.nbytes)


@pytest.mark.parametrize("kind", [SDCNet2D, SDCNet2DRecon])
def test_every_step_is_that_of_the_network_alone(kind: type[VideoPredictor]) -> None:
    network, frames = filled(kind(width=0.1)), make_frames(range(-1, 6))
    estimated = list(PredictedMotion(network, DisPairs(), CPU, {}).estimate(observed(frames), FORWARD))
    assert len(estimated) == 5
    for step, flow in zip(FORWARD, estimated, strict=True):
        torch.testing.assert_close(flow, by_hand(network, frames, step), rtol=0, atol=1e-4)


@pytest.mark.parametrize("at_a_time", [1, 2, 100])
def test_each_flow_is_estimated_once(recon: VideoPredictor, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "PIXELS_AT_A_TIME", {"cpu": at_a_time * SIZE[0] * SIZE[1]})
    flows = CountedFlow()
    estimated = list(PredictedMotion(recon, flows, CPU, {}).estimate(observed(make_frames(range(-1, 6))), FORWARD))
    assert [pair for call in flows.calls for pair in call] == [(k, k - 1) for k in range(6)]
    assert [len(call) for call in flows.calls] == {1: [2, 1, 1, 1, 1], 2: [3, 2, 1], 100: [6]}[at_a_time]
    assert [flow.shape for flow in estimated] == [(1, 2, *SIZE)] * 5


def test_a_flow_is_there_before_the_next_is_begun(recon: VideoPredictor) -> None:
    flows = CountedFlow()
    next(PredictedMotion(recon, flows, CPU, {}).estimate(observed(make_frames(range(-1, 6))), FORWARD))
    assert sum(map(len, flows.calls)) <= len(FORWARD) + 1
    assert list(PredictedMotion(recon, flows, CPU, {}).estimate({}, [])) == []


def test_flownet2_is_fed_blue_green_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    class Recorder(torch.nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            seen.extend([first, second])
            return torch.zeros(len(first), 2, *first.shape[-2:])

    monkeypatch.setattr(pair_flow, "flownet2_of", lambda _: Recorder())
    weights = Checkpoint(path=tmp_path, tensors={}, fields={}, description=None, digest="")
    frames = make_frames((0, 1))
    (flow,) = FlowNet2Motion(FlowNet2Pairs(weights, CPU), CPU, {}).estimate(observed(frames), [Step((0,), 1)])
    assert flow.shape == (1, 2, *SIZE)
    assert torch.equal(seen[0], frames[1].flip(1))  # from the target
    assert torch.equal(seen[1], frames[0].flip(1))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, recon: VideoPredictor) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_network(folder / "recon.safetensors", recon, about={})
    save_network(folder / "trained_on_dis.safetensors", recon, about={"recipe": {"input_flow": "dis"}})
    save_network(folder / "trained_on_farneback.safetensors", recon, about={"recipe": {"input_flow": ["farneback"]}})
    save_network(folder / "predict.safetensors", filled(SDCNet2D(width=0.1)), about={})
    return folder


def test_the_input_flow_is_what_the_weights_were_trained_with(weights: Path) -> None:
    estimator = open_estimator(MotionSettings(name="sdcnet", sdcnet_weights=weights / "trained_on_dis.safetensors"))
    fingerprint = dict(estimator.fingerprint)
    assert fingerprint.pop("sdcnet_weights").isalnum()
    assert fingerprint.pop("opencv")
    assert fingerprint == {"motion": "sdcnet", "dtype": "float32", "input_flow": "dis"}


def test_other_weights_are_another_fingerprint(weights: Path, tmp_path: Path) -> None:
    save_network(tmp_path / "other.safetensors", filled(SDCNet2DRecon(width=0.05)), about={})
    paths = (weights / "recon.safetensors", tmp_path / "other.safetensors")
    settings = [MotionSettings(name="sdcnet", sdcnet_weights=path, input_flow="dis") for path in paths]
    first, second = (open_estimator(each).fingerprint["sdcnet_weights"] for each in settings)
    assert first != second


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"name": "flownet2"}, "FlowNet2 needs weights: .*--flownet2-weights; without weights there is DIS"),
        ({"name": "sdcnet"}, "motion 'sdcnet' needs the weights of an SDCNet2DRecon: .*--sdcnet-weights"),
        ({"name": "sdcnet-predict"}, "needs the weights of an SDCNet2D: "),
        ({"name": "sdcnet", "sdcnet_weights": "recon.safetensors"}, "FlowNet2 needs weights"),
        (
            {"name": "sdcnet", "sdcnet_weights": "trained_on_farneback.safetensors"},
            r"says that it refines \['farneback'\]; say by --input-flow what it does",
        ),
        (
            {"name": "sdcnet", "sdcnet_weights": "predict.safetensors", "input_flow": "dis"},
            "predict.safetensors: holds SDCNet2D, whose motion is 'sdcnet-predict'; ask for that",
        ),
        (
            {"name": "sdcnet-predict", "sdcnet_weights": "recon.safetensors", "input_flow": "dis"},
            "recon.safetensors: holds SDCNet2DRecon, whose motion is 'sdcnet'; ask for that",
        ),
        (
            {
                "name": "sdcnet",
                "sdcnet_weights": "recon.safetensors",
                "input_flow": "dis",
                "flownet2_weights": "flownet2.pth",
            },
            r"--flownet2-weights .*flownet2\.pth: the input flow is DIS's, which has none",
        ),
        ({"name": "dis", "dtype": "bfloat16"}, "motion 'dis' has no setting dtype; leave it out"),
        ({"name": "flownet2", "input_flow": "dis"}, "motion 'flownet2' has no setting input_flow; leave it out"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, str], text: str, weights: Path) -> None:
    paths = {name: weights / value for name, value in settings.items() if name.endswith("weights")}
    with pytest.raises(MotionError, match=text):
        open_estimator(MotionSettings(**{**settings, **paths}))  # type: ignore[arg-type]


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pth: cannot be read"):
        open_estimator(MotionSettings(name="flownet2", flownet2_weights=tmp_path / "nowhere.pth"))


def test_a_predictors_file_may_hold_flownet2_too(tmp_path: Path) -> None:
    with torch.device("meta"):
        flownet2 = FlowNet2()
    both = {**SDCNet2DRecon().state_dict(), **{f"flownet2.{k}": v for k, v in flownet2.state_dict().items()}}
    both = {name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for name, tensor in both.items()}
    path = tmp_path / "both.pth.tar"
    torch.save({"arch": "SDCNet2DRecon", "state_dict": both}, path)
    fingerprint = open_estimator(MotionSettings(name="sdcnet", sdcnet_weights=path)).fingerprint
    assert fingerprint["flownet2_weights"] == fingerprint["sdcnet_weights"]
