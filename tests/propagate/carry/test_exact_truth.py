"""On synthetic streets everything is known exactly: are the labels right, the motion, and the doubts?"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from propagate.carry.confidence import confidence, match, to_outline
from propagate.carry.paths import HostPath
from propagate.carry.walk import Displacement, walk
from propagate.data.images import decode_frame
from propagate.data.sample import COVERED, ENTERED, MATCHED
from propagate.shards.reader import open_store
from propagate.synth.truth import read_occlusion, truth_path
from propagate.synth.write import write_dataset
from sdcnet.flow_files import read_flow
from sdcnet.motion.classical import Dis
from sdcnet.motion.estimator import ObservedPixels

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def avenue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two snippets of the default size, up to five frames around the annotated one."""
    root = tmp_path_factory.mktemp("avenue")
    write_dataset(root, num_snippets=2, size=(256, 512), length=25, around=5, seed=11)
    return root


@pytest.fixture(scope="module")
def steps(avenue: Path) -> list[tuple[Displacement, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """A step from each annotated frame to either side: displacement, confidence, true flow, valid, occluded."""
    found = []
    for image in sorted(avenue.glob("leftImg8bit_sequence/train/*/*_000019_leftImg8bit.png")):
        city, snippet = image.parent.name, image.name[: -len("_000019_leftImg8bit.png")]
        frames = {}
        for offset in (-1, 0, 1):
            path = image.with_name(f"{snippet}_{19 + offset:06d}_leftImg8bit.png")
            frames[offset] = torch.from_numpy(decode_frame(path.read_bytes(), str(path))).permute(2, 0, 1)[None]
        for direction, back in ((1, "previous"), (-1, "next")):
            observations = {offset: ObservedPixels(frame) for offset, frame in frames.items()}
            [displacement] = walk(observations, direction, Dis(), HostPath())
            one_label = torch.zeros_like(frames[0][:, :1])
            looked = match(displacement.flow, frames[direction], frames[0], HostPath())
            sure = confidence(looked, to_outline(one_label, HostPath()))[0, 0].numpy()
            folder, key = avenue / "truth" / "train" / city, f"{snippet}_{19 + direction:06d}"
            flow, valid = read_flow(truth_path(folder, key, f"flow_to_{back}"))
            occluded = read_occlusion(truth_path(folder, key, f"occluded_in_{back}"))
            found.append((displacement, sure, flow[0].numpy(), valid[0, 0].numpy(), occluded))
    return found


def test_the_flow_is_right_where_the_surface_is_seen_in_both_frames(steps: list[Any]) -> None:
    errors, lengths = [], []
    for displacement, _, flow, valid, occluded in steps:
        seen = valid & ~occluded
        errors.append(np.linalg.norm(displacement.flow[0].numpy() - flow, axis=0)[seen])
        lengths.append(np.linalg.norm(flow, axis=0)[seen])
    error, length = np.concatenate(errors), np.concatenate(lengths)
    assert np.median(error) < 0.2 * np.median(length)
    assert error.mean() < 0.4 * length.mean()


def test_what_is_hidden_is_less_sure_than_what_is_seen(steps: list[Any]) -> None:
    for _, sure, _, _, occluded in steps:
        order = np.argsort(np.argsort(sure, axis=None)).reshape(sure.shape)
        hidden, seen = int(occluded.sum()), int((~occluded).sum())
        above = (order[occluded].sum() - hidden * (hidden - 1) / 2) / (hidden * seen)
        assert above < 0.35  # how probably a hidden pixel is surer than a seen one: the area under the ROC curve


@pytest.fixture(scope="module")
def store(avenue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("avenue-store") / "out"
    from propagate.cli.main import main

    main(["run", "--root", str(avenue), "--out", str(out), "--engine", "local"], standalone_mode=False)
    return out


def test_labels_are_right_and_far_better_than_left_in_place(
    cli: Cli, avenue: Path, store: Path, tmp_path: Path
) -> None:
    still = tmp_path / "still"
    assert cli("run", "--root", avenue, "--out", still, "--motion", "none", "--engine", "local").returncode == 0
    scores = {}
    for name, out in (("dis", store), ("none", still)):
        process = cli("evaluate", out, "--root", avenue, "--truth", avenue / "truth", "--json")
        assert process.returncode == 0, process.stderr
        scores[name] = json.loads(process.stdout)
    assert scores["dis"]["miou"] > scores["none"]["miou"] + 0.2
    assert scores["dis"]["abs_offsets"]["1"]["accuracy"] > 0.97
    assert scores["dis"]["scored"] == 20
    for by_offset in (score["abs_offsets"] for score in scores.values()):
        assert by_offset["1"]["miou"] > by_offset["5"]["miou"]


def test_pixels_below_half_confidence_are_wrong_five_times_as_often(cli: Cli, avenue: Path, store: Path) -> None:
    report = json.loads(cli("evaluate", store, "--root", avenue, "--truth", avenue / "truth", "--json").stdout)
    reliability = report["confidence"]
    assert reliability["error_below_half"] > 5 * reliability["error_above_half"]
    right = [b["right"] for b in reliability["bins"]]
    assert right == sorted(right)


def test_what_has_entered_or_is_covered_is_less_sure_than_what_matches(store: Path) -> None:
    levels: dict[int, list[np.ndarray]] = {ENTERED: [], COVERED: [], MATCHED: []}
    for sample in open_store(store).samples(images=False):
        assert sample.reason is not None
        for reason, found in levels.items():
            found.append(sample.confidence[sample.reason == reason])
    means = {reason: np.concatenate(found).mean() / 15 for reason, found in levels.items()}
    assert 0.5 < means[ENTERED] < means[COVERED] < means[MATCHED]
