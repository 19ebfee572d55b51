"""The published propagation script, reproduced: the same label maps and frames from the same files, at less cost."""

import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from golden.fill import fill
from torch import Tensor

from propagate.cli.main import main
from propagate.data.images import decode_frame
from propagate.data.sample import Sample
from propagate.job import carrying, config
from propagate.shards.reader import open_store
from sdcnet.motion.registry import open_estimator
from sdcnet.networks.flownet2 import FlowNet2
from sdcnet.networks.predictor import SDCNet2DRecon

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[2] / "golden"
FRAMES = 5


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    """What the script made of one annotated frame at ±5; its frames are BGR, as it read and wrote them."""
    with np.load(GOLDEN / "propagation_64x128.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files of weights as they are published."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.device("meta"):  # drawing weights that are filled anyway takes seconds
        flownet2 = FlowNet2()
    for network, name in (
        (flownet2.to_empty(device="cpu"), "FlowNet2_checkpoint.pth.tar"),
        (SDCNet2DRecon(), "sdc_cityscapes_vrec.pth.tar"),
    ):
        fill(network.requires_grad_(False))
        torch.save({"epoch": 1, "arch": type(network).__name__, "state_dict": network.state_dict()}, folder / name)
    return folder


@pytest.fixture(scope="module")
def city(golden: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The annotated frame and its neighbours, laid out as Cityscapes is."""
    root = tmp_path_factory.mktemp("city")
    frames, labels = root / "leftImg8bit_sequence/train/toy", root / "gtFine/train/toy"
    frames.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number, frame in enumerate(golden["frames"], start=19 - FRAMES):
        cv2.imwrite(str(frames / f"toy_000000_{number:06d}_leftImg8bit.png"), frame)
    cv2.imwrite(str(labels / "toy_000000_000019_gtFine_labelIds.png"), golden["label"])
    return root


@pytest.fixture(scope="module")
def options(city: Path, weights: Path) -> list[object]:
    return [
        *("run", "--root", city, "--frames", FRAMES, "--pairing", "joint", "--engine", "local", "--motion", "sdcnet"),
        *("--device", "cpu"),
        *("--sdcnet-weights", weights / "sdc_cityscapes_vrec.pth.tar"),
        *("--flownet2-weights", weights / "FlowNet2_checkpoint.pth.tar"),
    ]


@dataclass(frozen=True)
class Run:
    """The propagated samples by offset, and for how many pairs and steps the two networks ran."""

    samples: dict[int, Sample]
    num_pairs: int
    num_steps: int


@pytest.fixture(scope="module")
def runs(options: list[object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run with each history, once. To read FlowNet2 takes longer than all else: they have the networks in common."""
    opened, ran = functools.cache(open_estimator), Counter[str]()
    estimate, displace = FlowNet2.forward, SDCNet2DRecon.displacement

    def flow(network: FlowNet2, first: Tensor, second: Tensor) -> Tensor:
        ran["pairs"] += len(first)
        return estimate(network, first, second)

    def displacement(network: SDCNet2DRecon, frames: Tensor, flows: Tensor) -> Tensor:
        ran["steps"] += len(frames)
        return displace(network, frames, flows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlowNet2, "forward", flow)
        patch.setattr(SDCNet2DRecon, "displacement", displacement)
        for module in (carrying, config):
            patch.setattr(module, "open_estimator", opened)
        return {name: run(options, name, ran, tmp_path_factory.mktemp(name)) for name in ("annotated", "adjacent")}


def run(options: list[object], history: str, ran: Counter[str], out: Path) -> Run:
    ran.clear()
    arguments = [*options, "--out", out, "--history", history, "--resample", "recursive"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    samples = {sample.offset: sample for sample in open_store(out).samples() if sample.offset}
    return Run(samples, ran["pairs"], ran["steps"])


def test_the_same_labels_and_frames(runs: dict[str, Run], golden: dict[str, np.ndarray]) -> None:
    samples = runs["annotated"].samples
    assert sorted(samples) == [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5]
    for offset, sample in samples.items():
        label, frame = golden[f"label_{offset:+d}"], golden[f"frame_{offset:+d}"]
        # where two pixels are equally near, float32 decides, and which way may depend on the machine
        assert (sample.label != label).mean() <= 0.001
        predicted = decode_frame(sample.image, "the sample")[..., ::-1]  # type: ignore[arg-type]
        difference = np.abs(predicted.astype(int) - frame)
        assert (difference == 1).mean() <= 0.03  # values are truncated: what is hardly below a level falls by one
        assert (difference > 1).mean() <= 0.001


def test_adjacent_history_is_another_thing(runs: dict[str, Run], golden: dict[str, np.ndarray]) -> None:
    samples = runs["adjacent"].samples
    for offset in (1, 2, -1, -2):  # it begins with the third step
        assert (samples[offset].label != golden[f"label_{offset:+d}"]).mean() <= 0.001
    assert (samples[3].label != golden["label_+3"]).mean() > 0.01


@pytest.mark.parametrize(("history", "num_pairs"), [("adjacent", 12), ("annotated", 18)])
def test_how_often_the_networks_run(runs: dict[str, Run], history: str, num_pairs: int) -> None:
    found = runs[history]
    assert (found.num_pairs, found.num_steps) == (num_pairs, 2 * FRAMES)  # the script's: 60 and 30
