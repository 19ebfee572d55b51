"""What every scheme must do, whichever it is."""

from collections.abc import Sequence

import pytest
import torch
from helpers.steppers import RUNTIME, OfLearnt, moving, network_of, seen_of, stepper_of, steps
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from jobs.timing import Stopwatch
from segtrain.models.network import SegmentationNetwork
from segtrain.models.registry import NETWORKS, build_network
from segtrain.video.cost import stage_macs
from segtrain.video.learnt import Learnt
from segtrain.video.netwarp import MIXING
from segtrain.video.registry import LEARNT, SCHEMES, SchemeSettings
from segtrain.video.stepper import Motion, Seen
from segtrain.video.stepping import stepped

# Of each scheme, the settings with which it is the network on every frame, and such that it is not.
EVERY_FRAME: list[SchemeSettings | OfLearnt] = [SchemeSettings(name="per-frame")]
SOME_FRAMES: list[SchemeSettings | OfLearnt] = []
for scheme in ("copy", "warp-labels", "warp-scores", "warp-features"):
    EVERY_FRAME.append(SchemeSettings(name=scheme, interval=1))
    SOME_FRAMES.append(SchemeSettings(name=scheme, interval=3))
    if "chain" in SCHEMES[scheme].takes:
        SOME_FRAMES.append(SchemeSettings(name=scheme, interval=3, chain="recursive"))
EVERY_FRAME += [
    SchemeSettings(name="clockwork", cuts=("layer2",), rates=(1, 1)),
    SchemeSettings(name="adaptive-clockwork", threshold=0.0),
    SchemeSettings(name="pipelined-clockwork", pipeline=1),
]
SOME_FRAMES += [
    SchemeSettings(name="clockwork", cuts=("layer2",), rates=(1, 3)),
    SchemeSettings(name="adaptive-clockwork", threshold=0.5),
    SchemeSettings(name="adaptive-clockwork", threshold=0.5, signal="pixels"),
    SchemeSettings(name="pipelined-clockwork", pipeline=2),
]


def half_of_each(learnt: Learnt) -> None:
    """Of a still clip's frames that is the whole again, bit for bit."""
    for name, parameter in learnt.named_parameters():
        if name.endswith((".current", ".previous")):
            parameter.fill_(0.5)


EVERY_FRAME += [OfLearnt("twnet", interval=1), OfLearnt("netwarp")]
SOME_FRAMES += [OfLearnt("twnet", interval=3), OfLearnt("netwarp", change=half_of_each)]


def described(settings: SchemeSettings | OfLearnt) -> str:
    return f"{settings.name}-{settings.interval}-{settings.chain}"


every_frame = pytest.mark.parametrize("settings", EVERY_FRAME, ids=described)
some_frames = pytest.mark.parametrize("settings", SOME_FRAMES, ids=described)


def same(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    return network_of("resnet18")


@pytest.fixture(scope="module", params=["resnet18", "pspnet18"])
def one_of_two(request: pytest.FixtureRequest) -> SegmentationNetwork:
    return network_of(request.param)


@pytest.fixture(scope="module")
def frames() -> list[Seen]:
    return seen_of(moving(5))


def test_there_is_no_scheme_that_these_tests_leave_out() -> None:
    schemes = {*SCHEMES, *LEARNT}
    assert {settings.name for settings in EVERY_FRAME} == schemes
    assert {settings.name for settings in SOME_FRAMES} == schemes - {"per-frame"}


@every_frame
def test_at_interval_1_it_is_the_network_on_every_frame_bit_for_bit(
    settings: SchemeSettings | OfLearnt, one_of_two: SegmentationNetwork, frames: list[Seen]
) -> None:
    found, costs = steps(stepper_of(one_of_two, settings), frames)
    with torch.inference_mode():
        expected = [one_of_two(seen.image) for seen in frames]
    if settings.name != "warp-labels":
        assert same(found, expected)
    assert same([logits.argmax(1) for logits in found], [logits.argmax(1) for logits in expected])
    for cost in costs:
        assert sorted(set(cost.ran) - {MIXING}) == sorted(stage.name for stage in one_of_two.stages)
        assert len(cost.ran) == len(set(cost.ran))
    assert [cost.fused_from[0] for cost in costs] == [0, 1, 2, 3, 4]


@some_frames
def test_a_still_clip_is_its_key_frame(settings: SchemeSettings | OfLearnt, one_of_two: SegmentationNetwork) -> None:
    still = seen_of(moving(1) * 3)
    found, costs = steps(stepper_of(one_of_two, settings), still)
    assert same([logits.argmax(1) for logits in found], [found[0].argmax(1)] * 3)
    if settings.name != "warp-labels":
        assert same(found, [found[0]] * 3)
    looks_back_once = settings.name in ("pipelined-clockwork", "netwarp")
    assert [cost.fused_from[-1] for cost in costs] == [0, 0, looks_back_once]


@some_frames
def test_what_comes_later_changes_nothing(
    settings: SchemeSettings | OfLearnt, network: SegmentationNetwork, frames: list[Seen]
) -> None:
    others = seen_of([*moving(3), *moving(2, seed=1)])
    found, _ = steps(stepper_of(network, settings), frames)
    expected, _ = steps(stepper_of(network, settings), others)
    assert same(found[:3], expected[:3])
    assert not same(found[3:], expected[3:])


@some_frames
def test_two_videos_that_take_turns_do_not_touch_each_other(
    settings: SchemeSettings | OfLearnt, network: SegmentationNetwork, frames: list[Seen]
) -> None:
    others = seen_of(moving(5, seed=1))
    one, other = stepper_of(network, settings), stepper_of(network, settings)
    taking_turns = [
        steps(stepper, [seen])[0][0]
        for pair in zip(frames, others, strict=True)
        for stepper, seen in zip((one, other), pair, strict=True)
    ]
    assert same(taking_turns[::2], steps(stepper_of(network, settings), frames)[0])
    assert same(taking_turns[1::2], steps(stepper_of(network, settings), others)[0])


@some_frames
def test_a_cut_another_size_and_a_reset_begin_anew(
    settings: SchemeSettings | OfLearnt, network: SegmentationNetwork
) -> None:
    scene, other_scene = moving(2), [255 - frame for frame in moving(1)]
    other_scene[0][..., :32] = 0
    larger = moving(1, size=(56, 64))
    video = seen_of([*scene, *other_scene, *larger])
    assert [seen.is_new for seen in video] == [True, False, True, True]
    stepper = stepper_of(network, settings)
    for _ in range(2):  # the second time after a reset, by which nothing of the first is left
        results = list(stepped(stepper, video, RUNTIME, Stopwatch()))
        assert [result.cost.fused_from[-1] for result in results] == [0, 0, 2, 3]
        for place in (2, 3):
            with torch.inference_mode():
                expected = network(video[place].image)[0].argmax(0).to(torch.uint8)
            assert torch.equal(results[place].labels, expected)


@some_frames
def test_what_it_says_it_ran_is_what_ran(
    settings: SchemeSettings | OfLearnt, network: SegmentationNetwork, frames: list[Seen]
) -> None:
    ran: list[str] = []
    hooks = [
        next(network.get_submodule(name).children()).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name in network.stage_names
    ]
    stepper = stepper_of(network, settings)
    for seen in frames:
        ran.clear()
        _, (cost,) = steps(stepper, [seen])
        assert ran == [name for name in cost.ran if name in network.stage_names]
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("name", NETWORKS)
def test_features_go_from_frame_to_frame_in_every_network(name: str) -> None:
    """Without weights, nor values: only what goes from where to where."""
    with torch.device("meta"):
        network = build_network(name, num_classes=3, output_stride=NETWORKS[name].output_strides[0]).eval()
        stepper = stepper_of(network, SchemeSettings(name="warp-features"))
        motion = Motion(torch.zeros(1, 2, 64, 96), torch.ones(1, 1, 64, 96, dtype=torch.bool))
        image = torch.zeros(1, 3, 64, 96)
        found, _ = steps(stepper, [Seen(number, image, None, number == 0, lambda: motion) for number in range(2)])
    assert [tuple(logits.shape) for logits in found] == [(1, 3, 64, 96)] * 2


@pytest.mark.parametrize("name", ["resnet18", "pspnet18", "fcn8s"])
def test_the_stages_together_cost_what_the_network_costs(name: str) -> None:
    with torch.device("meta"):
        network = build_network(name, num_classes=19, output_stride=NETWORKS[name].output_strides[-1]).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, 96, 128))
    macs = stage_macs(network, (96, 128))
    assert list(macs) == [stage.name for stage in network.stages]
    assert 2 * sum(macs.values()) == counter.get_total_flops() > 0
