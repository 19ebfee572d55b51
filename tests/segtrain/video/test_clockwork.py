"""Clocks to the stored schedules, on a network that tells which frame each of its stages saw; what it can't do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.steppers import moving, network_of, seen_of, steps
from torch import Tensor
from torch.nn import functional

from segtrain.errors import InferenceError
from segtrain.models.network import IMAGE, SegmentationNetwork, Stage, run_stages
from segtrain.models.registry import build_network
from segtrain.video.clocks import Adaptive, Fixed, Pipelined
from segtrain.video.clockwork import Clockwork, clock_stages
from segtrain.video.cost import stage_macs
from segtrain.video.pipeline import PipelinedClockwork
from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.stepper import Seen

STORED: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "clockwork_schedules.json").read_text())
CLOCK_STAGE = {"pool3": 0, "score_pool3": 0, "pool4": 1, "score_pool4": 1, "context": 2}


class Tags(SegmentationNetwork):
    """Stages as of FCN-8s that hand on what they are given: [1,6,h,w], 5 scores and the number of the frame."""

    head = frozenset({"score_pool4.weight"})
    cuts = ("score_pool3", "score_pool4")

    def __init__(self) -> None:
        super().__init__("tags", num_classes=6, output_stride=8)

    @property
    def stages(self) -> tuple[Stage, ...]:
        def same(found: Tensor) -> Tensor:
            return found.clone()

        def numbers(*found: Tensor) -> Tensor:
            return torch.cat([each[:, -1:] for each in found], dim=1)

        return (
            Stage("pool3", (IMAGE,), same),
            Stage("score_pool3", ("pool3",), same),
            Stage("pool4", ("pool3",), same),
            Stage("score_pool4", ("pool4",), same),
            Stage("context", ("pool4",), same),
            Stage("decoder", ("score_pool3", "score_pool4", "context"), numbers),
            Stage("logits", ("decoder", IMAGE), lambda found, _: found),
        )


def tagged() -> Iterator[Seen]:
    """Frames whose scores have the stored maps of classes."""
    for number, classes in enumerate(STORED["adaptive_class_maps"]):
        scores = 1000.0 * functional.one_hot(torch.tensor(classes), 5).movedim(-1, 0)
        image = torch.cat([scores, torch.full((1, *scores.shape[1:]), float(number))])[None]
        yield Seen(number, image, None, number == 0, lambda: pytest.fail("no motion is asked for"))


def assert_as_stored(stepper: Clockwork | PipelinedClockwork, rows: list[dict[str, Any]]) -> None:
    found, costs = steps(stepper, tagged())
    for row, logits, cost in zip(rows, found, costs, strict=True):
        assert logits[0, :, 0, 0].tolist() == row["fused_from"]
        assert list(cost.fused_from) == row["fused_from"]
        ran = {CLOCK_STAGE[name] for name in cost.ran if name in CLOCK_STAGE}
        assert [number in ran for number in range(3)] == row["runs"]
        assert len(set(cost.ran)) == len(cost.ran)
        assert cost.difference == pytest.approx(row.get("difference"))


@pytest.mark.parametrize("name", STORED["fixed"])
def test_fixed_clocks_are_the_stored_ones(name: str) -> None:
    schedule = STORED["fixed"][name]
    assert_as_stored(Clockwork(Tags(), Fixed(tuple(schedule["rates"]))), schedule["rows"])


@pytest.mark.parametrize(("name", "num_steps"), [("two_stage", 2), ("three_stage", 3)])
def test_pipelines_are_the_stored_ones(name: str, num_steps: int) -> None:
    assert_as_stored(PipelinedClockwork(Tags(), Pipelined(3, num_steps)), STORED["pipeline"][name])


@pytest.mark.parametrize("name", [name for name in STORED["adaptive"] if "previous_frame" not in name])
def test_adaptive_clocks_are_the_stored_ones(name: str) -> None:
    schedule = STORED["adaptive"][name]
    clock = Adaptive(3, schedule["threshold"], schedule.get("longest_wait"))
    assert_as_stored(Clockwork(Tags(), clock, signal="argmax"), schedule["rows"])


@pytest.mark.parametrize(
    ("cuts", "rates", "off_frame"),
    [
        ((), (1, 1, 2), ("layer0", "layer1", "fine", "decoder", "logits")),
        (("layer2",), (1, 2), ("layer0", "layer1", "fine", "decoder", "logits")),
        (("layer0", "layer2"), (1, 2, 2), ("decoder", "logits")),
    ],
)
def test_what_nothing_reads_is_not_computed(
    cuts: tuple[str, ...], rates: tuple[int, ...], off_frame: tuple[str, ...]
) -> None:
    """The decoder of DeepLabV3+ reads early features and the context, and nothing between them."""
    network, frames = network_of("resnet18"), seen_of(moving(2))
    found, costs = steps(open_stepper(network, SchemeSettings(name="clockwork", cuts=cuts, rates=rates)), frames)
    assert costs[1].ran == off_frame
    with torch.inference_mode():
        first, second = (run_stages(network.stages, seen.image) for seen in frames)
        early = first["fine"] if cuts[:1] == ("layer0",) else second["fine"]
        scores = next(stage for stage in network.stages if stage.name == "decoder").run(early, first["context"])
    expected = functional.interpolate(scores, frames[1].image.shape[-2:], mode="bilinear", align_corners=True)
    assert torch.equal(found[1], expected)


def test_without_rates_the_last_stage_alternates() -> None:
    for name, number in (("resnet18", 3), ("pspnet18", 2)):
        _, costs = steps(open_stepper(network_of(name), SchemeSettings(name="clockwork")), seen_of(moving(3)))
        assert [cost.fused_from for cost in costs] == [(0,) * number, (*[1] * (number - 1), 0), (2,) * number]


def test_fcn_adds_scores_of_frames_of_different_age() -> None:
    network, frames = network_of("fcn8s"), seen_of(moving(2))
    found, costs = steps(open_stepper(network, SchemeSettings(name="clockwork")), frames)
    with torch.inference_mode():
        first, second = (run_stages(network.stages, seen.image) for seen in frames)
        decoder = next(stage for stage in network.stages if stage.name == "decoder")
        expected = decoder.run(second["score_pool3"], second["score_pool4"], first["context"], frames[1].image)
    assert torch.equal(found[1], expected)
    assert costs[1].ran == ("pool3", "score_pool3", "pool4", "score_pool4", "decoder", "logits")
    adaptive = open_stepper(network, SchemeSettings(name="adaptive-clockwork", signal="argmax"))
    _, costs = steps(adaptive, frames)
    classes = [
        # 16 rows of 5 … 48 pixels are 3 places, after those of the border
        each["score_pool4"][..., 6:9, 6:10].argmax(1)
        for each in (first, second)
    ]
    assert costs[1].difference == pytest.approx((classes[0] != classes[1]).float().mean().item())


@pytest.mark.parametrize(
    ("name", "output_stride", "saved"),
    [("mobilenetv2", 16, (0.13, 0.24)), ("resnet18", 16, (0.22, 0.43)), ("resnet50", 8, (0.34, 0.60))],
)
def test_clocks_save_what_the_deeper_stages_cost(name: str, output_stride: int, saved: tuple[float, float]) -> None:
    """At 1024x2048, with the early stages at every frame; (1,1,2) and (1,2,4)."""
    with torch.device("meta"):
        network = build_network(name, num_classes=19, output_stride=output_stride)
    macs = stage_macs(network, (1024, 2048))
    early, middle, late = (sum(macs[name] for name in stage) for stage in clock_stages(network))
    total = sum(macs.values())
    assert late / 2 / total == pytest.approx(saved[0], abs=0.01)
    assert (middle / 2 + 3 * late / 4) / total == pytest.approx(saved[1], abs=0.01)
    assert early < middle < late


def test_a_batch_of_several_videos_is_refused() -> None:
    batch = Seen(0, torch.zeros(2, 6, 4, 4), None, True, lambda: pytest.fail("no motion"))
    for stepper in (Clockwork(Tags(), Fixed((1, 1, 2))), PipelinedClockwork(Tags(), Pipelined(3, 2))):
        with pytest.raises(ValueError, match="a clock is of one video, found a batch of 2; take a stepper for each"):
            stepper.step(batch)


def test_clocks_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="each of the rates must divide the next"):
        SchemeSettings(name="clockwork", rates=(1, 2, 3))
    with pytest.raises(ValueError, match=r"each of the rates must divide the next.*found \(1, 2, 3\)"):
        Fixed((1, 2, 3))
    with pytest.raises(ValueError, match=r"whole numbers of frames, 1 or more, found \(0, 1\)"):
        Fixed((0, 1))
    with pytest.raises(ValueError, match="threshold must be 0 or more, found -1"):
        Adaptive(3, -1)
    with pytest.raises(ValueError, match="longest_wait must be 1 frame or more, found 0"):
        Adaptive(3, 0.5, 0)
    with pytest.raises(ValueError, match="a pipeline of 3 stages has 1 to 3 steps, found 4"):
        Pipelined(3, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rates": (1, 2)}, "a clock of 2 stages for 3 of resnet18, which end with fine, layer3, context"),
        ({"cuts": ("contex",)}, r"resnet18 has no cut after 'contex'; known are layer0, .*, layer4$"),
        ({"cuts": ("layer9",)}, "resnet18 has no cut after 'layer9'; known are layer0, .*, layer4; did you mean"),
        ({"cuts": ("layer3", "layer1")}, "cuts are in the order of the network, each once, found layer3, layer1"),
        (
            {"name": "adaptive-clockwork", "signal": "argmax"},
            "compares the classes at layer3, where resnet18 has features; choose the signal 'feature'",
        ),
    ],
)
def test_what_the_network_cannot_do_is_refused(settings: dict[str, Any], message: str) -> None:
    with torch.device("meta"):
        network = build_network("resnet18")
    with pytest.raises(InferenceError, match=f"scheme '.*clockwork': .*{message}"):
        open_stepper(network, SchemeSettings(**{"name": "clockwork", **settings}))
