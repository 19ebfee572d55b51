"""The algebra of flows: what must hold for any image and flow, and stored numbers of the reference semantics."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sdcnet import geometry
from sdcnet.geometry import (
    compose,
    inside,
    length,
    sample_bilinear,
    warp_frames,
    warp_frames_adjoint,
    warp_frames_nearest,
    warp_labels,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "resampling.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def random_image(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def constant_flow(dx: float, dy: float, height: int, width: int) -> Tensor:
    return torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, height, width).contiguous()


def test_bilinear_matches_the_stored_numbers(golden: dict[str, Tensor]) -> None:
    warped = warp_frames(golden["img"], golden["flow"])
    torch.testing.assert_close(warped, golden["bilinear"], atol=1e-6, rtol=0)  # float32 rounding of [0,1] values


@pytest.mark.parametrize(("source", "expected"), [("img", "nearest"), ("label", "label_nearest")])
def test_nearest_is_exactly_the_stored_numbers(golden: dict[str, Tensor], source: str, expected: str) -> None:
    assert torch.equal(warp_labels(golden[source], golden["flow"]), golden[expected])


@pytest.mark.parametrize("warp", [warp_frames, warp_frames_nearest])
def test_gradients_match_the_stored_numbers(
    golden: dict[str, Tensor], warp: Callable[[Tensor, Tensor], Tensor]
) -> None:
    image, flow = golden["img"].clone().requires_grad_(), golden["flow"].clone().requires_grad_()
    warp(image, flow).backward(golden["gout"])
    torch.testing.assert_close(image.grad, golden["gimg"], atol=2e-5, rtol=0)  # sums of up to dozens of pixels
    points = geometry.endpoints(golden["flow"])
    between = (points != points.floor()).all(dim=1, keepdim=True).expand_as(points)
    # at whole coordinates the derivative has two sides, and references differ in the one they take
    torch.testing.assert_close(flow.grad[between], golden["gflow"][between], atol=1e-5, rtol=0)


@pytest.mark.parametrize("differentiable", [False, True])
def test_nearest_frames_are_exactly_the_stored_numbers(golden: dict[str, Tensor], differentiable: bool) -> None:
    image = golden["img"].clone().requires_grad_(differentiable)
    warped = warp_frames_nearest(image, golden["flow"])
    assert warped.requires_grad == differentiable
    assert torch.equal(warped, golden["nearest"])


def test_bilinear_gradients_are_those_of_finite_differences() -> None:
    image = random_image(2, 5, 6).double().requires_grad_()
    flow = (8 * random_image(2, 4, 7, seed=1).double() - 4).requires_grad_()
    assert torch.autograd.gradcheck(warp_frames, (image, flow))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_frames_move_along_exact_positions(dtype: torch.dtype) -> None:
    image, flow = random_image(3, 20, 30), 10 * random_image(2, 20, 30, seed=1)
    warped = warp_frames(image.to(dtype), flow)
    assert warped.dtype == dtype
    torch.testing.assert_close(warped.float(), warp_frames(image, flow), atol=4 * torch.finfo(dtype).eps, rtol=0)


@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_zero_flow_is_the_identity(height: int, width: int) -> None:
    image, still = random_image(2, height, width), torch.zeros(1, 2, height, width)
    assert torch.equal(warp_frames(image, still), image)
    assert torch.equal(warp_labels(image, still), image)
    assert torch.equal(compose(still, still), still)
    assert inside(still).all()


@given(dx=st.integers(-12, 12), dy=st.integers(-12, 12))
def test_an_integer_shift_is_exact_and_repeats_the_border(dx: int, dy: int) -> None:
    image = random_image(1, 7, 9)
    rows = torch.arange(7).add(dy).clamp(0, 6)
    columns = torch.arange(9).add(dx).clamp(0, 8)
    expected = image[:, :, rows][:, :, :, columns]
    flow = constant_flow(dx, dy, 7, 9)
    assert torch.equal(warp_frames(image, flow), expected)
    assert torch.equal(warp_labels(image, flow), expected)


def test_halves_round_up() -> None:
    row = torch.arange(6, dtype=torch.uint8).view(1, 1, 1, 6)
    assert warp_labels(row, constant_flow(0.5, 0, 1, 6)).flatten().tolist() == [1, 2, 3, 4, 5, 5]
    assert warp_labels(row, constant_flow(-0.5, 0, 1, 6)).flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_just_below_a_half_rounds_down() -> None:
    """0.49999997 + 0.5 is 1 in float32: rounding must not be done that way."""
    pair = torch.tensor([3, 8], dtype=torch.uint8).view(1, 1, 1, 2)
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    assert warp_labels(pair, constant_flow(below, 0, 1, 2))[0, 0, 0, 0] == 3


@pytest.mark.parametrize("far", [1e4, 1e20, -1e20])
def test_far_outside_there_is_the_border(far: float) -> None:
    image = random_image(1, 5, 5)
    corner = image[..., -1, -1] if far > 0 else image[..., 0, 0]
    flow = constant_flow(far, far, 5, 5)
    assert (warp_labels(image, flow) == corner).all()
    assert (warp_frames(image, flow) == corner).all()
    assert not inside(flow).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_the_frame_ends_half_a_pixel_past_its_outermost_pixels_on_every_side(axis: int) -> None:
    """Where halves round up: the lower end belongs to it, the upper one does not."""
    size = (5, 8)
    last = size[1 - axis] - 1
    for step, expected in ((-0.5, True), (-0.51, False), (0.49, True), (0.5, False)):
        flow = torch.zeros(1, 2, *size)
        flow[:, axis] = step
        across = inside(flow)[0, 0, 2] if axis == 0 else inside(flow)[0, 0, :, 2]
        assert bool(across[0 if step < 0 else last]) is expected
        assert across[1:last].all()


def test_where_the_flow_is_not_a_number_neither_is_the_frame_and_all_else_is_untouched() -> None:
    image, flow = random_image(2, 6, 7), 3 * random_image(2, 6, 7, seed=1)
    broken = flow.clone()
    broken[0, 0, 1, 2] = broken[0, 1, 3, 4] = broken[0, :, 5, 6] = torch.nan
    here = broken.isnan().any(dim=1, keepdim=True).expand_as(image)
    for warp in (warp_frames, lambda source, by: compose(by, source), warp_frames_nearest):
        expected, warped = warp(image, flow), warp(image, broken)
        assert torch.equal(warped[~here], expected[~here])
        assert warped[here].isnan().all() or warp is warp_frames_nearest
    label = (10 * image).to(torch.uint8)
    carried = warp_labels(label, broken)
    assert torch.equal(carried[~here], warp_labels(label, flow)[~here])
    assert torch.equal(carried[..., 5, 6], label[..., 0, 0])  # the pixel that the docstring names
    assert torch.equal(inside(broken), inside(flow) & ~here[:, :1])


def test_gradients_that_are_not_numbers_stay_where_they_come_from() -> None:
    image, flow = random_image(1, 6, 7).requires_grad_(), 2 * random_image(2, 6, 7, seed=1) + 1
    broken = flow.clone()
    broken[..., 5, 6] = torch.nan
    broken.requires_grad_()
    warp_frames(image, broken).sum().backward()
    assert broken.grad.isfinite()[..., :5, :].all()
    assert image.grad.isfinite()[..., 2:, 2:].all()  # what is not lies by the pixel that is read in place of nothing


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_in_a_frame_reaches_no_further_than_its_pixel(value: float) -> None:
    image = random_image(1, 5, 6)
    image[..., 2, 3] = value
    still = torch.zeros(1, 2, 5, 6)
    torch.testing.assert_close(warp_labels(image, still), image, equal_nan=True)
    here = ~warp_frames(image, constant_flow(1.5, 0.5, 5, 6)).isfinite()
    assert here.nonzero()[:, 2:].tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]  # those that it is a corner of


OPERATIONS = {
    "warp_frames": warp_frames,
    "warp_labels": warp_labels,
    "warp_frames_nearest": warp_frames_nearest,
    "compose": lambda image, flow: compose(flow, image),
    "length": lambda _image, flow: length(flow),
    "inside": lambda _image, flow: inside(flow),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_everything_compiles_without_a_break(name: str) -> None:
    torch.compiler.reset()
    image, flow = random_image(2, 70, 9).requires_grad_(), (9 * random_image(2, 70, 9, seed=1) - 4).requires_grad_()
    compiled = torch.compile(OPERATIONS[name], fullgraph=True, backend="aot_eager")  # backwards too, no C compiler
    results = []
    for function in (compiled, OPERATIONS[name]):
        output = function(image, flow)
        leaves = [leaf for leaf in (image, flow) if output.requires_grad]
        gradients = torch.autograd.grad(output.sum(), leaves, allow_unused=True) if leaves else ()
        results.append((output, *(gradient for gradient in gradients if gradient is not None)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", OPERATIONS)
def test_everything_stays_on_its_device(name: str) -> None:
    image = torch.zeros(1, 2, 70, 9, device="meta")  # where only shapes are computed, and a mixture is an error
    assert OPERATIONS[name](image, torch.zeros(1, 2, 70, 9, device="meta")).device.type == "meta"


@given(st.tuples(*[st.integers(-3, 3)] * 4))
def test_composing_equals_stepping(shifts: tuple[int, int, int, int]) -> None:
    first, second = constant_flow(*shifts[:2], 16, 16), constant_flow(*shifts[2:], 16, 16)
    image = random_image(1, 16, 16)
    stepped = warp_frames(warp_frames(image, second), first)
    straight = warp_frames(image, compose(first, second))
    assert torch.equal(stepped[..., 6:10, 6:10], straight[..., 6:10, 6:10])  # where no border was met


def test_composing_follows_the_second_flow_from_where_the_first_ends() -> None:
    second = torch.zeros(1, 2, 4, 8)
    second[:, 1, :, 4:] = 1  # only the right half moves
    there = compose(constant_flow(4, 0, 4, 8), second)
    assert torch.equal(there[:, 1, :, :4], torch.ones(1, 4, 4))


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, points = random_image(3, 40, 30), random_image(2, 50, 20, seed=1) * 50 - 5
    whole = sample_bilinear(image, points)
    monkeypatch.setattr(geometry, "BAND_ROWS", 7)
    assert torch.equal(sample_bilinear(image, points), whole)


def test_the_frame_ends_half_a_pixel_past_its_outermost_centres() -> None:
    assert inside(constant_flow(-0.5, 0, 1, 3)).flatten().tolist() == [True, True, True]
    assert inside(constant_flow(-0.51, 0, 1, 3)).flatten().tolist() == [False, True, True]
    assert inside(constant_flow(0.5, 0, 1, 3)).flatten().tolist() == [True, True, False]
    assert inside(constant_flow(0, 0.5, 3, 1)).flatten().tolist() == [True, True, False]


def test_length_is_euclidean() -> None:
    assert (length(constant_flow(3, -4, 2, 2)) == 5).all()


@pytest.mark.parametrize("size", [(5, 7), (70, 6)])
def test_the_adjoint_is_the_gradient_of_warping(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64).requires_grad_()
    flow = 3 * torch.randn(2, 2, *size, generator=generator)
    target = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad(warp_frames(source, flow), source, target)
    torch.testing.assert_close(warp_frames_adjoint(target, flow), expected)
