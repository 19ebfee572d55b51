"""What is carried where the motion is not known, or leads to what the frame before does not show."""

from dataclasses import replace

import pytest
import torch
from helpers.steppers import moving, network_of, seen_of, steps
from torch import Tensor

from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.stepper import Motion, Seen
from segtrain.video.tiled import Tiling, _Scaled
from segtrain.video.warping import filled, gated, share_known

SIZE = (48, 64)


def seen_along(flow: Tensor, known: Tensor, back: Tensor | None = None) -> Seen:
    return Seen(1, torch.zeros(1, 3, *SIZE), None, False, lambda: Motion(flow, known), lambda: back)


def flow_of(u: float, v: float) -> Tensor:
    return torch.tensor([u, v], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *SIZE).clone()


def test_what_comes_in_from_outside_is_not_known() -> None:
    everywhere = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    seen = seen_along(flow_of(5, 0), everywhere)
    known = gated(seen, "occlusion").known
    assert known[..., :-5].all()
    assert not known[..., -5:].any()
    assert gated(seen, "known").known.all()
    in_cells = seen_along(flow_of(0, -8)[..., ::8, ::8], everywhere[..., ::8, ::8])
    known = gated(in_cells, "occlusion").known
    assert known[..., 1:, :].all()
    assert not known[..., 0, :].any()


def test_what_the_motion_back_does_not_lead_back_to_is_not_known() -> None:
    back = flow_of(-3, 0)
    back[..., :10, :] = torch.tensor([-4.5, 0]).view(1, 2, 1, 1)
    seen = seen_along(flow_of(3, 0), torch.ones(1, 1, *SIZE, dtype=torch.bool), back)
    known = gated(seen, "occlusion").known
    assert known[..., 10:, :-3].all()
    assert not known[..., :10, :].any()


def test_tiles_and_their_mirror_images_know_the_motion_back() -> None:
    """Of each frame it is found once."""
    asked: list[int] = []
    back = flow_of(-3, 1)
    back[..., :20] = torch.tensor([-6.0, 1]).view(1, 2, 1, 1)

    def find_back() -> Tensor:
        asked.append(1)
        return back

    seen = seen_along(flow_of(3, -1), torch.ones(1, 1, *SIZE, dtype=torch.bool))
    seen = replace(seen, find_back=find_back)
    for scale in (1, 2):
        scaled = _Scaled(seen, Tiling(tile=32 * scale, stride=32 * scale, scales=(scale,)), scale)
        tile, mirror_image = scaled.tile(8 * scale, 0), scaled.mirrored_tile(8 * scale, 0)
        known = gated(tile, "occlusion").known
        assert not known[..., : 16 * scale].any()
        assert known[..., 2 * scale :, 19 * scale : 28 * scale].all()
        assert torch.equal(gated(mirror_image, "occlusion").known, known.flip(-1))
    assert asked == [1]


def test_without_a_gate_the_motion_is_as_it_is() -> None:
    seen = seen_along(flow_of(0, 0), torch.zeros(1, 1, *SIZE, dtype=torch.bool))
    assert gated(seen, "none") is gated(seen, "known") is seen.motion
    assert (share_known(seen.motion, seen.image, (6, 8)) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_holes_are_filled_from_the_nearest_place(dtype: torch.dtype) -> None:
    maps = torch.arange(2 * 5 * 7).view(1, 2, 5, 7).to(dtype)
    known = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    known[..., 1:4, :3] = False
    found = filled(maps, known)
    assert torch.equal(found[..., known[0, 0]], maps[..., known[0, 0]])
    assert found[0, :, 2, 2].tolist() == maps[0, :, 2, 3].tolist()
    assert found[0, :, 1, 0].tolist() == maps[0, :, 0, 0].tolist()
    assert found[0, :, 3, 1].tolist() == maps[0, :, 4, 1].tolist()
    nothing = torch.zeros_like(known)
    assert torch.equal(filled(maps, nothing), maps)


@pytest.mark.parametrize("chain", ["composed", "recursive"])
def test_a_hole_in_the_motion_is_filled_from_beside_it_frame_after_frame(chain: str) -> None:
    """Where nothing is known the motion leads astray, elsewhere nothing moves."""
    known = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    known[..., 16:32, 24:40] = False
    flow = torch.where(known, flow_of(0, 0), flow_of(20, 0))
    network, (first, *_) = network_of("resnet18"), seen_of(moving(1))
    still = [first, *(Seen(number, first.image, None, False, lambda: Motion(flow, known)) for number in (1, 2))]
    settings = SchemeSettings(name="warp-labels", interval=4, chain=chain, gate="known")
    labels = [logits.argmax(1, keepdim=True) for logits in steps(open_stepper(network, settings), still)[0]]
    expected = filled(labels[0], known)
    assert torch.equal(labels[1], expected)
    assert torch.equal(labels[2], expected)
    astray = SchemeSettings(name="warp-labels", interval=4, chain=chain)
    assert not torch.equal(steps(open_stepper(network, astray), still)[0][1].argmax(1, keepdim=True), expected)
