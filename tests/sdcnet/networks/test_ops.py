"""The networks' operations: stored numbers of the published ones, plain loops, and finite differences."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import profile

from sdcnet.networks import ops
from sdcnet.networks.ops import channel_norm, correlation, displaced_convolution

GOLDEN = Path(__file__).parents[2] / "golden" / "ops.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def leaf(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def looped_correlation(
    first: Tensor, second: Tensor, *, max_displacement: int = 20, displacement_stride: int = 2
) -> Tensor:
    """One product of the frames per displacement: the reference of `correlation`, in meaning and in speed."""
    height, width = first.shape[-2:]
    reach = max_displacement // displacement_stride * displacement_stride
    padded = F.pad(second, [reach] * 4)
    starts = range(0, 2 * reach + 1, displacement_stride)
    means = [(first * padded[:, :, y : y + height, x : x + width]).mean(dim=1) for y in starts for x in starts]
    return torch.stack(means, dim=1)


def displaced_inputs(*, taps: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    image = random_tensor(1, 3, height + taps - 1, width + taps - 1, dtype=dtype)
    kernels = [random_tensor(1, taps, height, width, seed=seed, dtype=dtype) for seed in (1, 2)]
    return [image, *kernels, 4 * random_tensor(1, 2, height, width, seed=3, dtype=dtype)]


def published_correlation(golden: dict[str, Tensor], case: str, first: Tensor, second: Tensor) -> Tensor:
    padding, kernel_size, max_displacement, stride, displacement_stride = golden[f"corr_{case}_params"].tolist()
    assert padding == max_displacement + kernel_size // 2  # so that the output has the frames' size
    return correlation(
        first,
        second,
        max_displacement=max_displacement,
        displacement_stride=displacement_stride,
        kernel_size=kernel_size,
        stride=stride,
    )


@pytest.mark.parametrize("case", ["flownet", "small", "stride1_2", "kernel3"])
def test_correlation_matches_the_stored_numbers(golden: dict[str, Tensor], case: str) -> None:
    volume = published_correlation(golden, case, golden[f"corr_{case}_in1"], golden[f"corr_{case}_in2"])
    torch.testing.assert_close(volume, golden[f"corr_{case}_out"], atol=1e-6, rtol=0)  # another order of summation


@pytest.mark.parametrize("case", ["flownet", "small"])
def test_gradients_of_correlation_match_the_stored_numbers(golden: dict[str, Tensor], case: str) -> None:
    first, second = leaf(golden[f"corr_{case}_in1"]), leaf(golden[f"corr_{case}_in2"])
    published_correlation(golden, case, first, second).backward(golden[f"corr_{case}_gout"])
    torch.testing.assert_close(first.grad, golden[f"corr_{case}_gin1"], atol=2e-6, rtol=0)
    torch.testing.assert_close(second.grad, golden[f"corr_{case}_gin2"], atol=2e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 70),
    max_displacement=st.integers(0, 7),
    displacement_stride=st.integers(1, 3),
)
def test_correlation_is_the_loop_over_displacements(
    height: int, width: int, max_displacement: int, displacement_stride: int
) -> None:
    first, second = random_tensor(2, 3, height, width), random_tensor(2, 3, height, width, seed=1)
    window = {"max_displacement": max_displacement, "displacement_stride": displacement_stride}
    volume = correlation(first, second, **window)
    torch.testing.assert_close(volume, looped_correlation(first, second, **window), atol=2e-6, rtol=0)


def test_correlation_peaks_at_the_displacement() -> None:
    frame = F.normalize(random_tensor(1, 64, 24, 32), dim=1)
    moved = frame.roll((4, -6), dims=(2, 3))  # 4 down, 6 to the left
    best = correlation(frame, moved).argmax(dim=1)[:, 6:-6, 6:-6]
    assert (best == (4 // 2 + 10) * 21 + (-6 // 2 + 10)).all()


def test_correlation_of_large_halves_does_not_overflow() -> None:
    features = torch.full((1, 256, 8, 8), 60.0, dtype=torch.float16)  # the sum of products exceeds 65504
    assert correlation(features, features)[0, 220].eq(3600).all()


def test_correlation_refuses_frames_of_different_sizes() -> None:
    with pytest.raises(ValueError, match=r"of one shape, found \[1, 2, 4, 4\] and \[1, 2, 4, 5\]"):
        correlation(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))


def best_seconds(work: Callable[[], object]) -> float:
    """Of the processor, on one thread: what other processes do is not counted."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    torch.set_num_threads(num_threads)
    return min(seconds)


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that tensors held at once while `work` ran."""
    with profile(profile_memory=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(changes).max())


def test_correlation_beats_the_loop_in_time_and_memory() -> None:
    first, second = random_tensor(1, 256, 32, 64), random_tensor(1, 256, 32, 64, seed=1)  # frames of 256x512
    assert best_seconds(lambda: correlation(first, second)) < best_seconds(lambda: looped_correlation(first, second))
    assert peak_bytes(lambda: correlation(first, second)) <= peak_bytes(lambda: looped_correlation(first, second))


def test_correlation_needs_two_copies_of_its_frames_and_little_else() -> None:
    first, second = random_tensor(1, 64, 48, 64), random_tensor(1, 64, 48, 64, seed=1)
    volume = 4 * 441 * 48 * 64  # bytes of the result; a padded copy per displacement would be 441 times the frames'
    padded = 4 * 64 * (48 + 40) * (64 + 40)
    assert peak_bytes(lambda: correlation(first, second)) < volume + 2 * 4 * first.numel() + padded + volume / 21 * 2


@pytest.mark.parametrize("channels", [2, 3])
def test_channel_norm_matches_the_stored_numbers(golden: dict[str, Tensor], channels: int) -> None:
    case = f"cn{channels}"
    x = leaf(golden[f"{case}_in"])
    norm = channel_norm(x)
    norm.backward(golden[f"{case}_gout"])
    torch.testing.assert_close(norm, golden[f"{case}_out"], atol=1e-6, rtol=0)
    torch.testing.assert_close(x.grad, golden[f"{case}_gin"], atol=1e-6, rtol=0)


def test_the_gradient_of_no_length_is_zero() -> None:
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    channel_norm(x).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_long_halves_have_a_length() -> None:
    flow = torch.tensor([300.0, -400.0], dtype=torch.float16).view(1, 2, 1, 1)  # the sum of squares exceeds 65504
    assert channel_norm(flow).item() == 500


@pytest.mark.parametrize(("taps", "tolerance"), [(1, 5e-5), (3, 5e-5), (9, 2e-4), (11, 2e-4)])
def test_displaced_convolution_matches_the_stored_numbers(
    golden: dict[str, Tensor], taps: int, tolerance: float
) -> None:
    names = ["img", "kv", "kh", "flow"]
    inputs = [leaf(golden[f"sdc{taps}_{name}"]) for name in names]
    output = displaced_convolution(*inputs)
    output.backward(golden[f"sdc{taps}_gout"])
    # sums of up to 121 products of values up to dozens, in another order
    torch.testing.assert_close(output, golden[f"sdc{taps}_out"], atol=tolerance, rtol=0)
    for name, tensor in zip(names, inputs, strict=True):
        torch.testing.assert_close(tensor.grad, golden[f"sdc{taps}_g{name}"], atol=tolerance, rtol=0)


def test_a_kernel_of_one_moves_the_image() -> None:
    image, taps = random_tensor(1, 2, 12, 15), 5
    kernel = F.one_hot(torch.tensor(taps // 2), taps).float().view(1, taps, 1, 1).expand(1, taps, 12, 15)
    flow = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 12, 15)
    output = displaced_convolution(F.pad(image, [taps // 2] * 4, mode="replicate"), kernel, kernel, flow)
    assert torch.equal(output[..., 2:, :-3], image[..., :-2, 3:])


def test_displaced_convolution_stores_nothing_per_tap() -> None:
    stored = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal stored
        stored += tensor.numel()
        return tensor

    inputs = [leaf(tensor) for tensor in displaced_inputs(taps=11, height=20, width=30)]
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        displaced_convolution(*inputs)
    assert stored < 6 * sum(tensor.numel() for tensor in inputs)  # one tensor a tap would be 14 times


def test_displaced_convolution_says_which_shapes_do_not_fit() -> None:
    image, vertical, horizontal, flow = displaced_inputs(taps=3, height=4, width=5)
    with pytest.raises(ValueError, match=r"found \[1, 3, 4, 5\], \[1, 3, 4, 5\]"):
        displaced_convolution(image[..., 1:-1, 1:-1], vertical, horizontal, flow)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_give_what_floats_give(dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    first, second = random_tensor(1, 32, 8, 12, dtype=dtype), random_tensor(1, 32, 8, 12, seed=1, dtype=dtype)
    image, vertical, horizontal, flow = displaced_inputs(taps=3, height=6, width=7, dtype=dtype)
    for operation, inputs in [
        (correlation, (first, second)),
        (channel_norm, (first,)),
        (displaced_convolution, (image, vertical, horizontal, flow.float())),
    ]:
        output = operation(*inputs)
        assert output.dtype == dtype
        torch.testing.assert_close(output.float(), operation(*(x.float() for x in inputs)), atol=4 * eps, rtol=4 * eps)


def test_displaced_convolution_sums_halves_in_float32() -> None:
    *halves, flow = displaced_inputs(taps=11, height=6, width=7, dtype=torch.bfloat16)
    output = displaced_convolution(*halves, flow.float())
    expected = displaced_convolution(*(half.float() for half in halves), flow.float())
    assert torch.equal(output, expected.bfloat16())


GRADIENT_CASES = {
    "correlation": (
        lambda a, b: correlation(a, b, max_displacement=3, displacement_stride=2),
        [random_tensor(1, 3, 4, 5, seed=seed, dtype=torch.float64) for seed in (0, 1)],
    ),
    "correlation of windows": (
        lambda a, b: correlation(a, b, max_displacement=1, displacement_stride=1, kernel_size=3, stride=2),
        [random_tensor(1, 2, 4, 5, seed=seed, dtype=torch.float64) for seed in (0, 1)],
    ),
    "channel norm": (channel_norm, [random_tensor(1, 3, 4, 5, dtype=torch.float64)]),
    "displaced convolution": (displaced_convolution, displaced_inputs(taps=3, height=4, width=5, dtype=torch.float64)),
}


@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_gradients_are_those_of_finite_differences(case: str) -> None:
    operation, inputs = GRADIENT_CASES[case]
    assert torch.autograd.gradcheck(operation, [leaf(tensor) for tensor in inputs])


@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_operations_compile_without_a_break(case: str) -> None:
    operation, inputs = GRADIENT_CASES[case]
    torch.compiler.reset()
    compiled = torch.compile(operation, fullgraph=True, backend="aot_eager")  # forward and backward, no C compiler
    results = []
    for function in (compiled, operation):
        leaves = [leaf(tensor) for tensor in inputs]
        output = function(*leaves)
        results.append([output, *torch.autograd.grad(output.square().sum(), leaves)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_operations_stay_on_their_device(case: str) -> None:
    operation, inputs = GRADIENT_CASES[case]
    expected = operation(*inputs)
    output = operation(*(tensor.to("meta") for tensor in inputs))  # only shapes are computed, and a mixture is an error
    assert (output.device.type, output.shape, output.dtype) == ("meta", expected.shape, expected.dtype)


@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_operations_run_under_autocast(case: str) -> None:
    operation, inputs = GRADIENT_CASES[case]
    leaves = [leaf(tensor.float()) for tensor in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        output = operation(*leaves)
    gradients = torch.autograd.grad(output.sum(), leaves)
    expected = operation(*leaves)
    assert output.dtype == torch.float32
    # products of bfloat16, which has 8 bits
    torch.testing.assert_close(output, expected, atol=0.05, rtol=0.02)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.sum(), leaves), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_displaced_convolution_is_a_sound_operator(layout: torch.memory_format) -> None:
    image, vertical, horizontal, _ = (
        x.contiguous(memory_format=layout) for x in displaced_inputs(taps=3, height=4, width=5)
    )
    corners = torch.randint(0, 20, (1, 1, 20), generator=torch.Generator().manual_seed(0))
    kernels = [leaf(kernel.flatten(2)) for kernel in (vertical, horizontal)]
    torch.library.opcheck(ops._separable_filter, (leaf(image), *kernels, corners))


def test_displaced_convolution_of_nothing_is_not_a_number_and_all_else_is_untouched() -> None:
    image, vertical, horizontal, flow = displaced_inputs(taps=3, height=6, width=7)
    broken = flow.clone()
    broken[0, 0, 1, 2] = broken[0, 1, 3, 4] = broken[0, :, 5, 6] = torch.nan
    here = broken.isnan().any(dim=1, keepdim=True).expand(1, 3, 6, 7)
    output = displaced_convolution(image, vertical, horizontal, broken)
    assert output[here].isnan().all()
    assert torch.equal(output[~here], displaced_convolution(image, vertical, horizontal, flow)[~here])
