"""The temporal loss: the published numbers, what must hold of any frames, and how little it keeps."""

import pytest
import torch
from helpers.measured import LargestTensor, kept_for_backward
from helpers.stored_losses import assert_case, load
from torch import Tensor

from sdcnet.geometry import inside, warp_frames
from segtrain.losses.consistency.temporal import (
    published_temporal_loss,
    published_visibility,
    temporal_loss,
    visibility,
)
from segtrain.models.network import upsample
from segtrain.models.preprocessing import MEAN, STD

STORED = load("temporal_loss.npz")
SIZE = (65, 97)


class Pair:
    """Two frames, their logits, the flow between them and how they are seen: random, of 3 classes, in float64."""

    def __init__(self, *size: int, batch: int = 2, classes: int = 3) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(channels: int) -> Tensor:
            return torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)

        self.logits, self.neighbour = draw(classes).requires_grad_(), draw(classes).requires_grad_()
        self.flow, self.visibility = 2 * draw(2), draw(1).sigmoid()
        self.seen = draw(1)[:, 0] > -0.5

    def loss(self) -> Tensor:
        return temporal_loss(self.logits, self.neighbour, self.flow, self.visibility, self.seen)

    def gradients(self) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.loss(), (self.logits, self.neighbour))


def naive(pair: Pair) -> Tensor:
    difference = pair.logits.softmax(1) - warp_frames(pair.neighbour.softmax(1), pair.flow)
    return (pair.visibility[:, 0] * difference.square().sum(1))[pair.seen].mean()


def stored_frames(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Frame, neighbour and flow; normalised as the stored numbers were, in float32 of levels."""
    mean, std = (255 * torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    image, neighbour = (((STORED[f"{name}_uint8"].float() - mean) / std).to(dtype) for name in ("image", "frame"))
    return image, neighbour, STORED["flow"].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_losses_and_gradients_are_the_stored_ones(dtype: torch.dtype) -> None:
    image, neighbour, flow = stored_frames(dtype)
    small = {name: STORED[name].to(dtype).requires_grad_() for name in ("logits", "frame_logits")}
    every = torch.ones(2, *SIZE, dtype=torch.bool)
    weighings = {
        "paper_abs_of_sum": (published_visibility(image, neighbour, flow), every),
        "paper_sum_of_abs": (visibility(image, neighbour, flow, over="sum"), every),
        "paper_mean_of_abs": (visibility(image, neighbour, flow), every),
        "paper_mean_of_abs_inside": (visibility(image, neighbour, flow), inside(flow)[:, 0]),
    }
    cases = {key.removesuffix("_loss") for key in STORED if key.endswith("_loss")}
    assert cases == {*weighings, "published"}

    for case, (seen_surely, seen) in weighings.items():
        large = (upsample(logits, SIZE) for logits in small.values())
        loss = temporal_loss(*large, flow, seen_surely, seen)
        assert_case(STORED, f"{case}_", loss, small if f"{case}_grad_logits" in STORED else {}, of_norm=False)
    large = (upsample(logits, SIZE) for logits in small.values())
    loss = published_temporal_loss(*large, flow, published_visibility(image, neighbour, flow))
    assert_case(STORED, "published_", loss, small, of_norm=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_visibility_is_the_stored_one(dtype: torch.dtype) -> None:
    image, neighbour, flow = stored_frames(dtype)
    found = published_visibility(image, neighbour, flow)
    torch.testing.assert_close(found.float(), STORED["published_V"], atol=1e-5, rtol=0)
    warped = warp_frames(neighbour, flow)[..., ::4, ::4]
    torch.testing.assert_close(warped.float(), STORED["warped_frame"], atol=1e-5, rtol=0)


def test_it_is_what_it_says_and_so_are_its_gradients() -> None:
    pair = Pair(67, 12)  # in bands
    torch.testing.assert_close(pair.loss(), naive(pair))
    torch.testing.assert_close(pair.gradients(), torch.autograd.grad(naive(pair), (pair.logits, pair.neighbour)))


def test_equal_frames_that_do_not_move_cost_nothing() -> None:
    pair = Pair(7, 9)
    image = torch.randn(2, 3, 7, 9)
    still = torch.zeros(2, 2, 7, 9)
    for over in ("mean", "sum"):
        assert torch.equal(visibility(image, image, still, over=over), torch.ones(2, 1, 7, 9))  # type: ignore[arg-type]
    pair.neighbour, pair.flow = pair.logits, still
    assert pair.loss() == 0
    assert published_temporal_loss(pair.logits, pair.neighbour, still, pair.visibility) == 0


def test_visibility_is_1_exactly_where_frames_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    scene = torch.randn(1, 3, 8, 14, generator=generator)
    image, neighbour = scene[..., 2:12].clone(), scene[..., :10]  # it moves by two pixels
    image[:, 1, 3, 4] += 0.1
    flow = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 10)
    found = visibility(image, neighbour, flow)
    agree = torch.ones(1, 1, 8, 10, dtype=torch.bool)
    agree[..., 8:] = agree[..., 3, 4] = False  # past the border, and where a colour differs
    assert torch.equal(found == 1, agree)
    assert found.min() > 0
    flat = torch.full((1, 3, 8, 10), 0.3)
    assert (visibility(flat, flat, torch.randn(1, 2, 8, 10, generator=generator)) == 1).all()


def test_opposite_changes_of_colours_do_not_cancel_but_as_published() -> None:
    image = torch.zeros(1, 3, 2, 2)
    neighbour = image + torch.tensor([0.5, -0.5, 0.0]).view(3, 1, 1)
    still = torch.zeros(1, 2, 2, 2)
    assert (published_visibility(image, neighbour, still) == 1).all()
    torch.testing.assert_close(visibility(image, neighbour, still), torch.full((1, 1, 2, 2), -1 / 3).exp())
    torch.testing.assert_close(visibility(image, neighbour, still, over="sum"), torch.full((1, 1, 2, 2), -1.0).exp())
    with pytest.raises(ValueError, match="over is mean or sum, found 'max'"):
        visibility(image, neighbour, still, over="max")  # type: ignore[arg-type]


def test_mirrored_frames_cost_the_same() -> None:
    pair, image, neighbour = Pair(9, 11), torch.randn(2, 3, 9, 11), torch.randn(2, 3, 9, 11)
    mirrored = Pair(9, 11)
    mirrored.flow = pair.flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    seen_surely = visibility(image, neighbour, pair.flow)
    torch.testing.assert_close(visibility(image.flip(-1), neighbour.flip(-1), mirrored.flow), seen_surely.flip(-1))
    for name in ("logits", "neighbour", "visibility", "seen"):
        setattr(mirrored, name, getattr(pair, name).flip(-1))
    torch.testing.assert_close(mirrored.loss(), pair.loss())
    published = [
        published_temporal_loss(each.logits, each.neighbour, each.flow, each.visibility) for each in (pair, mirrored)
    ]
    torch.testing.assert_close(published[0], published[1])


def test_as_published_the_gradients_of_both_predictions_cancel_for_each_class() -> None:
    pair = Pair(9, 11)
    pair.visibility = pair.visibility.round()  # of what is not seen at all as well
    loss = published_temporal_loss(pair.logits, pair.neighbour, pair.flow, pair.visibility)
    to_frame, to_neighbour = (each.sum((0, 2, 3)) for each in torch.autograd.grad(loss, (pair.logits, pair.neighbour)))
    assert to_frame.abs().min() > 1e-6
    torch.testing.assert_close(to_frame, -to_neighbour)


def test_of_pixels_that_are_not_counted_nothing_matters() -> None:
    pair = Pair(6, 7)
    loss, gradients = pair.loss().item(), pair.gradients()
    pair.flow = pair.flow.where(pair.seen[:, None], torch.nan)
    pair.visibility = pair.visibility.where(pair.seen[:, None], torch.inf)
    assert pair.loss().item() == loss
    assert all(torch.equal(*each) for each in zip(pair.gradients(), gradients, strict=True))
    assert not gradients[0].where(~pair.seen[:, None], 0).any()
    pair.seen = torch.zeros_like(pair.seen)
    assert pair.loss() == 0
    assert not any(each.any() for each in pair.gradients())


def test_a_neighbour_that_is_detached_gets_no_gradient_and_the_frame_the_same() -> None:
    pair = Pair(6, 7)
    expected = pair.gradients()[0]
    loss = temporal_loss(pair.logits, pair.neighbour.detach(), pair.flow, pair.visibility, pair.seen)
    assert torch.equal(*torch.autograd.grad(loss, pair.logits), expected)
    loss = temporal_loss(pair.logits.detach(), pair.neighbour, pair.flow, pair.visibility, pair.seen)
    torch.testing.assert_close(*torch.autograd.grad(loss, pair.neighbour), pair.gradients()[1])


def test_half_precision_is_computed_in_float32() -> None:
    pair = Pair(6, 7)
    half = Pair(6, 7)
    half.logits, half.neighbour = (each.detach().bfloat16().requires_grad_() for each in (pair.logits, pair.neighbour))
    pair.logits, pair.neighbour = (each.detach().float().requires_grad_() for each in (half.logits, half.neighbour))
    assert half.loss().dtype == torch.float32
    assert half.loss() == pair.loss()
    for found, expected in zip(half.gradients(), pair.gradients(), strict=True):
        assert torch.equal(found, expected.bfloat16())


def test_nothing_of_the_predictions_size_is_kept_and_one_image_is_worked_on_at_a_time() -> None:
    pair = Pair(70, 20, batch=4, classes=8)
    one_image = 8 * 70 * 20
    with LargestTensor() as largest:
        loss, kept = kept_for_backward(pair.loss)
    inputs = 2 * 4 * one_image + pair.flow.numel() + pair.visibility.numel()
    assert kept <= inputs
    assert largest.num_elements == one_image
    with LargestTensor() as largest:
        loss.backward()
    assert largest.num_elements == 4 * one_image  # the gradients themselves
