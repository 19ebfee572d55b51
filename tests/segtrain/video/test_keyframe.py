"""What is carried from key frames: by hand, step for step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.steppers import moving, network_of, seen_of, steps
from torch import Tensor
from torch.nn import functional

from sdcnet.geometry import compose, warp_frames, warp_labels
from segtrain.models.network import run_stages
from segtrain.models.registry import build_network
from segtrain.video.keyframe import KeyFrames
from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.stepper import Motion, Seen
from segtrain.video.warping import at_size

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "codec"
NETWORK = network_of("resnet18")
FRAMES = seen_of(moving(4, size=(64, 96)))
DECODER = {stage.name: stage for stage in NETWORK.stages}["decoder"]


def flows(size: tuple[int, int]) -> list[Tensor]:
    """From each frame but the first to the one before it, in cells."""
    return [functional.adaptive_avg_pool2d(seen.motion.flow_to_previous, size) * size[0] / 64 for seen in FRAMES[1:]]


def test_features_are_carried_to_the_decoder_and_early_ones_are_of_the_frame() -> None:
    with torch.inference_mode():
        found, costs = steps(
            open_stepper(NETWORK, SchemeSettings(name="warp-features", interval=4, chain="recursive")), FRAMES
        )
        context = run_stages(NETWORK.stages, FRAMES[0].image)["context"]
        for seen, flow, logits in zip(FRAMES[1:], flows((8, 12)), found[1:], strict=True):
            context = warp_frames(context, flow)
            early = run_stages(NETWORK.stages, seen.image)["fine"]
            scores = DECODER.run(early, context)
            expected = functional.interpolate(scores, (64, 96), mode="bilinear", align_corners=True)
            torch.testing.assert_close(logits, expected)
    assert [cost.ran for cost in costs[1:]] == [("layer0", "layer1", "fine", "decoder", "logits")] * 3
    assert [cost.fused_from for cost in costs] == [(0,), (1, 0), (2, 0), (3, 0)]


def test_composed_motion_reads_the_key_frame_once() -> None:
    settings = SchemeSettings(name="warp-scores", interval=4)
    found, costs = steps(open_stepper(NETWORK, settings), FRAMES)
    with torch.inference_mode():
        scores, flow = run_stages(NETWORK.stages, FRAMES[0].image)["decoder"], None
        for step, logits in zip(flows((16, 24)), found[1:], strict=True):
            flow = step if flow is None else compose(step, flow)
            carried = warp_frames(scores, flow)
            expected = functional.interpolate(carried, (64, 96), mode="bilinear", align_corners=True)
            torch.testing.assert_close(logits, expected)
    assert [(cost.ran, cost.fused_from) for cost in costs[1:]] == [(("logits",), (0,))] * 3


def test_labels_are_those_of_the_nearest_pixel() -> None:
    found, _ = steps(open_stepper(NETWORK, SchemeSettings(name="warp-labels", interval=4, chain="recursive")), FRAMES)
    classes = found[0].argmax(1, keepdim=True)
    for flow, logits in zip(flows((64, 96)), found[1:], strict=True):
        classes = warp_labels(classes, flow)
        assert torch.equal(logits.argmax(1, keepdim=True), classes)
        assert set(logits.unique().tolist()) <= {0.0, 1.0}


def test_the_key_frame_comes_again_after_the_interval() -> None:
    _, costs = steps(open_stepper(NETWORK, SchemeSettings(name="copy", interval=2)), FRAMES)
    assert [cost.fused_from for cost in costs] == [(0,), (0,), (2,), (2,)]
    assert [len(cost.ran) for cost in costs] == [9, 0, 9, 0]


def test_cells_are_averaged_over_the_known_ones() -> None:
    flow = torch.tensor([[[[8.0, 4.0, 2.0, 6.0]] * 2, [[0.0, 8.0, 0.0, 0.0]] * 2]])
    known = torch.tensor([[[[True, False, False, False], [True, True, False, False]]]])
    found = at_size(Motion(flow, known), torch.empty(1, 3, 16, 32), (1, 2))
    # of the first cell (8 + 8 + 4) / 3 pixels along x, of cells of 16 pixels; of the second, of which nothing is known,
    # the mean of what was filled in
    expected = torch.tensor([[[[20 / 3, 4.0]], [[8 / 3, 0.0]]]]) / 16
    torch.testing.assert_close(found, expected)


def test_cells_of_features_with_a_border_lie_where_they_are_seen() -> None:
    """Those of FCN-8s, whose first places lie before the image: flow that grows along x tells where each was read."""
    columns = torch.arange(64.0).expand(1, 1, 48, -1)
    motion = Motion(torch.cat((columns, torch.zeros(1, 1, 48, 64)), dim=1), torch.ones(1, 1, 48, 64, dtype=torch.bool))
    with torch.device("meta"):
        network = build_network("fcn8s", num_classes=1)
    for stage, first, stride in (("score_pool4", -91.5, 16), ("context", -11.5, 16), ("pool3", -95.5, 8)):
        places = network.places(stage)
        size = tuple(run_stages(network.stages, torch.empty(1, 3, 48, 64, device="meta"))[stage].shape[-2:])
        found = at_size(motion, torch.empty(1, 3, 48, 64), size, places)
        assert found.shape == (1, 2, *size)
        centres = first + stride * torch.arange(size[1])
        whole = (centres >= stride / 2) & (centres <= 64 - stride / 2)  # away from the image's sides
        assert whole.sum() >= 2
        torch.testing.assert_close(found[0, 0][:, whole], (centres[whole] / stride).expand(size[0], -1))
        inside = places.inside(64)
        assert (centres[inside].min() >= 0, centres[inside].max() <= 63) == (True, True)
        assert (centres[inside.start - 1] < 0, centres[inside.stop] > 63) == (True, True)


@pytest.mark.parametrize("name", ["mpeg4", "mpeg4_mv4", "h264"])
def test_the_codecs_motion_of_features_is_the_reference(name: str) -> None:
    """Where cells are known; the stored numbers have 0 elsewhere."""
    with np.load(GOLDEN / f"clip_{name}.npz") as stored:
        flow, known, expected, is_known = (
            torch.from_numpy(stored[key]) for key in ("flow", "known", "flow_stride16", "known_stride16")
        )
    for number in range(len(flow)):
        found = at_size(Motion(flow[number, None], known[number, None, None].bool()), torch.empty(1, 3, 64, 96), (4, 6))
        there = is_known[number].bool().expand(2, -1, -1)
        torch.testing.assert_close(found[0][there], expected[number][there], atol=1e-6, rtol=0)
    assert 0 < is_known.float().mean() < 1


def test_each_of_several_that_are_held_is_carried_by_the_composed_motion_once() -> None:
    """Also where they have one size."""

    class Two(KeyFrames):
        def kept(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"one": found["context"], "other": found["context"]}

        def follow(self, seen: Seen) -> tuple[Tensor, tuple[str, ...]]:
            assert torch.equal(self.carried(seen, "one"), self.carried(seen, "other"))
            return torch.zeros(1, 5, 64, 96), ()

    steps(Two(NETWORK, 4, "composed"), FRAMES)
