"""NetWarp on networks: what it mixes, and where."""

import pytest
import torch
from helpers.steppers import OfLearnt, moving, network_of, seen_of, stepper_of, steps
from torch import Tensor
from torch.nn import functional

from segtrain.models.network import run_stages
from segtrain.models.preprocessing import normalised
from segtrain.video.learnt import Learnt
from segtrain.video.netwarp import MIXING, PUBLISHED_MEAN, NetWarp, _published
from segtrain.video.stepper import Motion
from segtrain.video.warping import at_size, warp

NETWORK = network_of("resnet18")
PIXELS = moving(3, size=(64, 96))
FRAMES = seen_of(PIXELS)


def weighted(learnt: Learnt) -> None:
    assert isinstance(learnt, NetWarp)
    for mixing in learnt.by_stage.values():
        mixing.current.fill_(0.75)
        mixing.previous.fill_(0.5)


def found_in(place: int) -> dict[str, Tensor]:
    with torch.inference_mode():
        return run_stages(NETWORK.stages, FRAMES[place].image)


def scores_of(context: Tensor, place: int) -> Tensor:
    decoder = {stage.name: stage for stage in NETWORK.stages}["decoder"]
    with torch.inference_mode():
        scores = decoder.run(found_in(place)["fine"], context)
    return functional.interpolate(scores, (64, 96), mode="bilinear", align_corners=True)


@pytest.mark.parametrize(
    ("name", "form", "fine_tune"),
    [
        ("resnet18", "released", True),
        ("resnet18", "paper", False),
        ("fcn8s", "paper", True),
        ("lateral-mobilenetv1", "released", True),
    ],
)
def test_with_its_first_values_it_is_the_base_bit_for_bit(name: str, form: str, fine_tune: bool) -> None:
    network = network_of(name)
    learnt = OfLearnt("netwarp", settings={"form": form, "fine_tune": fine_tune})
    found, costs = steps(stepper_of(network, learnt), FRAMES)
    with torch.inference_mode():
        assert all(torch.equal(logits, network(seen.image)) for logits, seen in zip(found, FRAMES, strict=True))
    assert [cost.ran[-1] == MIXING for cost in costs] == [False, True, True]
    assert [cost.motions for cost in costs] == [0, 1, 1]


def test_it_mixes_what_the_base_found_in_the_frame_before_along_the_motion() -> None:
    """Nothing of the frame before that, and nothing that was mixed then."""
    found, _ = steps(stepper_of(NETWORK, OfLearnt("netwarp", change=weighted)), FRAMES)
    torch.testing.assert_close(found[0], scores_of(found_in(0)["context"], 0), rtol=0, atol=0)
    for place in (1, 2):
        before, own = (found_in(number)["context"] for number in (place - 1, place))
        carried = warp(before, at_size(FRAMES[place].motion, FRAMES[place].image, (8, 12)))
        torch.testing.assert_close(found[place], scores_of(0.75 * own + 0.5 * carried, place))


def test_what_is_not_known_is_the_frames_own() -> None:
    learnt = OfLearnt("netwarp", change=weighted, settings={"gate": "known"}).on(NETWORK)
    assert isinstance(learnt, NetWarp)
    with torch.inference_mode():
        own, before = (learnt.alone(FRAMES[place].image)[0] for place in (1, 0))
        flow, known = FRAMES[1].motion
        nothing = Motion(flow, torch.zeros_like(known))
        logits, _ = learnt.follow(own, before, FRAMES[0].image, nothing)
    assert torch.equal(logits, scores_of(own["context"], 1))


def test_several_places_each_see_what_the_base_found_there() -> None:
    """A later module must not see the frame before as an earlier one has changed it."""
    learnt = OfLearnt("netwarp", change=weighted, settings={"at": ["context", "layer3"]}).on(NETWORK)
    assert isinstance(learnt, NetWarp)
    assert learnt.at == ("layer3", "context")
    _, costs = steps(learnt.stepper(1), FRAMES)
    assert costs[1].ran.count("layer4") == costs[1].ran.count("context") == 2
    assert costs[1].ran.count("layer3") == 1
    stages = {stage.name: stage for stage in NETWORK.stages}
    motion, image = FRAMES[1].motion, FRAMES[1].image
    own, before = found_in(1), found_in(0)

    def mixed(name: str, features: Tensor) -> Tensor:
        size = (features.shape[-2], features.shape[-1])
        return 0.75 * features + 0.5 * warp(before[name], at_size(motion, image, size))

    with torch.inference_mode():
        later = stages["layer4"].run(mixed("layer3", own["layer3"]))
        context = mixed("context", stages["context"].run(later))
        found, _ = learnt.follow(learnt.alone(image)[0], learnt.alone(FRAMES[0].image)[0], FRAMES[0].image, motion)
    torch.testing.assert_close(found, scores_of(context, 1))


def test_published_frames_are_levels_less_their_means() -> None:
    expected = PIXELS[0].float().flip(1) - torch.tensor(PUBLISHED_MEAN).view(3, 1, 1)
    torch.testing.assert_close(_published(normalised(PIXELS[0])), expected, rtol=0, atol=1e-3)


def test_frames_are_seen_where_the_features_lie() -> None:
    """Those of FCN-8s have a border around the image: an even division has the middle of a cell elsewhere."""
    network = network_of("fcn8s")
    learnt = OfLearnt("netwarp", settings={"at": ["score_pool4"]}).on(network)
    assert isinstance(learnt, NetWarp)
    places = network.places("score_pool4")
    assert places is not None
    columns = torch.arange(128.0).expand(1, 3, 64, 128)
    own, _ = learnt.alone(columns)
    motion = Motion(torch.zeros(1, 2, 64, 128), torch.ones(1, 1, 64, 128, dtype=torch.bool))
    pooled = learnt._pooled(columns, columns, motion, own["score_pool4"], "score_pool4")
    size = own["score_pool4"].shape[-1]
    middles = torch.arange(size) * places.stride + places.middle
    is_within = (middles >= places.stride / 2) & (middles <= 127 - places.stride / 2)
    assert is_within.sum() > 4
    for frame in (pooled.frame, pooled.previous):
        torch.testing.assert_close(frame[0, 0, size // 2, is_within], middles[is_within])


def test_an_idle_module_is_noticed() -> None:
    idle = OfLearnt("netwarp").on(NETWORK).findings()
    busy = OfLearnt("netwarp", change=weighted).on(NETWORK).findings()
    assert idle == {
        "context": "weights of the frame 1.000 (1.000 to 1.000), of the one before it 0.000 (0.000 to 0.000), whose "
        "share is 0.0%"
    }
    assert busy["context"].endswith("whose share is 40.0%")


def test_nothing_can_be_mixed_after_the_scores() -> None:
    with pytest.raises(ValueError, match="nothing follows 'logits'"):
        OfLearnt("netwarp", settings={"at": ["logits"]}).on(NETWORK)
