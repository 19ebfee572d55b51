"""Tamed warping on networks: what it carries, what it corrects, what that costs."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.steppers import OfLearnt, moving, network_of, seen_of, stepper_of, steps

from sdcnet.frames.stream import FrameStream
from sdcnet.motion.vectors import CellFlow
from segtrain.models.preprocessing import STD, normalised
from segtrain.models.registry import build_network
from segtrain.video.learnt import Learnt
from segtrain.video.registry import SchemeSettings
from segtrain.video.stepper import Motion
from segtrain.video.twnet import CORRECTION, TWNet
from segtrain.video.warping import residual, residual_at_size

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
FRAMES = seen_of(moving(4, size=(64, 96)))


def learning(learnt: Learnt) -> None:
    """As if it had learnt something."""
    generator = torch.Generator().manual_seed(5)
    for parameter in learnt.corrections.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(
    ("name", "lateral"),
    [("resnet18", "fine"), ("pspnet18", "layer2"), ("fcn8s", "score_pool3"), ("lateral-resnet18", "lateral1")],
)
def test_without_a_correction_it_is_feature_warping_bit_for_bit(name: str, lateral: str) -> None:
    network = network_of(name)
    untrained = OfLearnt("twnet", interval=4)
    found, costs = steps(stepper_of(network, untrained), FRAMES)
    plain = SchemeSettings(name="warp-features", interval=4, chain="recursive")
    expected, _ = steps(stepper_of(network, plain), FRAMES)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert untrained.on(network).lateral == lateral  # type: ignore[attr-defined]
    assert costs[1].ran[-1] == CORRECTION
    assert set(network.stage_names[-1:]).isdisjoint(costs[1].ran)


@pytest.mark.parametrize("residual_form", ["absolute", "signed", "none"])
@pytest.mark.parametrize("gate", ["none", "occlusion"])
def test_corrected_features_go_on_to_the_next_frame(residual_form: str, gate: str) -> None:
    network = network_of("resnet18")
    learnt = OfLearnt("twnet", 4, learning, {"residual": residual_form, "gate": gate}).on(network)
    assert isinstance(learnt, TWNet)
    found, _ = steps(learnt.stepper(4), FRAMES)
    with torch.inference_mode():
        held, previous = learnt._found_by_base(FRAMES[0].image), FRAMES[0].image
        for seen, logits in zip(FRAMES[1:], found[1:], strict=True):
            motion = seen.motion if gate == "none" else seen.motion_within
            there, _ = learnt.follow(held, seen.image, previous, motion)
            torch.testing.assert_close(logits, there["logits"], rtol=0, atol=0)
            held, previous = {"context": there["context"]}, seen.image
    untouched, _ = steps(stepper_of(network, OfLearnt("twnet", 4)), FRAMES)
    assert not torch.equal(found[1], untouched[1])


@pytest.mark.parametrize("name", ["resnet18", "fcn8s"])
def test_copies_hold_only_what_runs_and_learn_apart_from_the_base(name: str) -> None:
    network = network_of(name)
    learnt = OfLearnt("twnet", 4, settings={"fine_tune": True}).on(network)
    ran = {
        "resnet18": ("layer0", "layer1", "bot_fine", "final"),
        "fcn8s": ("conv1_", "conv2_", "conv3_", "score_pool3"),
    }
    copied = {key.removeprefix("copies.") for key in learnt.state_dict() if key.startswith("copies.")}
    assert copied == {key for key in network.state_dict() if key.startswith(ran[name])}
    untouched, _ = steps(learnt.stepper(4), FRAMES)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        for parameter in learnt.copies.parameters():  # type: ignore[union-attr]
            parameter.mul_(1.5)
    found, _ = steps(learnt.stepper(4), FRAMES)
    assert torch.equal(found[0], untouched[0])
    assert not torch.equal(found[1], untouched[1])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("carried", "follow", "correct"), [("dec1", 19.3, 2.42), ("dec2", 12.5, 2.42)])
def test_it_costs_what_the_paper_says_of_corrections_and_its_encoder(
    carried: str, follow: float, correct: float
) -> None:
    """For 1024x2048, in G; what the paper says of the whole cannot be reckoned from its text."""
    with torch.device("meta"):
        network = build_network("lateral-mobilenetv1", output_stride=32).eval()
    learnt = OfLearnt("twnet", 12, settings={"carried": [carried]}).on(network)
    assert isinstance(learnt, TWNet)
    macs = learnt.stepper(12).macs((1024, 2048))
    parts = learnt.follower_parts.needed(("image", carried))
    assert sum(macs[name] for name in parts) / 1e9 == pytest.approx(follow, abs=0.05)
    assert macs[CORRECTION] / 1e9 == pytest.approx(correct, abs=0.01)
    assert sum(macs.values()) / 1e9 == pytest.approx(39.7 + correct, abs=0.05)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (["layer3"], "the decoder goes on from more than layer3"),
        (["fine"], "the decoder goes on from more than fine"),
        (["contexts"], "no stage 'contexts'; .*did you mean 'context'"),
    ],
)
def test_stages_that_do_not_suffice_are_refused(stages: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OfLearnt("twnet", settings={"carried": stages}).on(network_of("resnet18"))


def test_a_signed_difference_is_seen_where_the_features_lie() -> None:
    network = network_of("fcn8s")
    learnt = OfLearnt("twnet", settings={"residual": "signed"}).on(network)
    assert isinstance(learnt, TWNet)
    (name, *_) = learnt.carried
    places = network.places(name)
    assert places is not None
    image = torch.arange(128.0).expand(1, 3, 64, 128) / torch.tensor(STD).view(3, 1, 1) / 255
    motion = Motion(torch.zeros(1, 2, 64, 128), torch.ones(1, 1, 64, 128, dtype=torch.bool))
    size = learnt._found_by_base(image)[name].shape[-2:]
    (cue,) = learnt._cues(image, torch.zeros_like(image), motion, (size[0], size[1]), places)
    middles = (torch.arange(size[1]) * places.stride + places.middle).clamp(0, 127)
    torch.testing.assert_close(cue[0, 0, size[0] // 2], middles, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["mpeg4", "mpeg4_mv4", "h264"])
def test_the_residual_is_what_the_motion_of_a_codec_leaves(name: str) -> None:
    with np.load(GOLDEN / "codec" / f"clip_{name}.npz") as stored:
        golden = dict(stored)
    frames = list(FrameStream(GOLDEN / "codec" / f"clip_{name}.mp4", with_vectors=True))
    for before, frame in pairwise(frames):
        if frame.vectors is None:
            continue
        cells = CellFlow.of(frame.vectors, frame.size)
        motion = Motion(cells.filled()[None], cells.known[None, None])
        image, previous = (normalised(torch.from_numpy(each.pixels).permute(2, 0, 1)[None]) for each in (frame, before))
        for stride in (8, 16):
            size = (frame.size[0] // stride, frame.size[1] // stride)
            found = residual_at_size(image, previous, motion, size)[0].mean(dim=0).numpy()
            np.testing.assert_allclose(found, golden[f"residual_abs{stride}"][frame.number], atol=0.5)
        if name == "mpeg4" and frame.number in (1, 8):
            expected = golden[f"residual_frame{frame.number}"]
            found = residual(image, previous, motion)[0].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(found, expected, atol=4)
