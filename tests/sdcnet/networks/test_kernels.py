"""Predictors with kernels: what they share with those without, what the kernels add, and that this can be learned."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from golden.fill import fill
from torch import Tensor

from sdcnet.geometry import warp_frames
from sdcnet.losses import colour_loss
from sdcnet.networks.kernels import (
    DisplacedKernels,
    KernelPredictor,
    SDCNet2DKernels,
    SDCNet2DReconKernels,
    with_kernels,
)
from sdcnet.networks.predictor import SDCNet2D, SDCNet2DRecon, VideoPredictor

PAIRS = [(SDCNet2D, SDCNet2DKernels), (SDCNet2DRecon, SDCNet2DReconKernels)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """What is so small takes a hundred times as long on threads that wait for the cores of a busy machine."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def random_sequence(network: VideoPredictor, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = 255 * torch.rand(1, network.num_frames, 3, height, width, generator=generator)
    flows = 5 * torch.randn(1, network.num_frames - 1, 2, height, width, generator=generator)
    return frames, flows


def filled(kind: type[VideoPredictor]) -> VideoPredictor:
    network = kind(width=0.1)
    fill(network)
    return network


@pytest.fixture(scope="module")
def learned() -> KernelPredictor:
    """A predictor whose kernels are not those that change nothing."""
    network = SDCNet2DKernels(width=0.1, kernel_size=5)
    fill(network)
    return network.requires_grad_(False)


@pytest.mark.parametrize(("kind", "kind_with_kernels"), PAIRS)
def test_new_kernels_change_nothing(kind: type[VideoPredictor], kind_with_kernels: type[KernelPredictor]) -> None:
    predictor = filled(kind).eval()
    network = with_kernels(predictor, kernel_size=5)
    assert type(network) is kind_with_kernels
    assert network.settings == {"num_history": 2, "width": 0.1, "kernel_size": 5}
    assert not network.training
    with torch.no_grad():
        sequence = random_sequence(network, 50, 70)
        expected, prediction = predictor(*sequence), network(*sequence)
    assert torch.equal(prediction.flow_target_to_source, expected.flow_target_to_source)
    torch.testing.assert_close(prediction.frame, expected.frame, atol=1e-4, rtol=0)  # levels up to 255, summed apart


def test_parameters_are_the_published_ones_and_the_kernels() -> None:
    state, expected = SDCNet2DKernels().state_dict(), SDCNet2D().state_dict()
    assert {name: state[name].shape for name in expected} == {name: value.shape for name, value in expected.items()}
    added = {name: list(value.shape) for name, value in state.items() if name not in expected}
    assert added == {
        "kernels.vertical.weight": [11, 16, 3, 3],
        "kernels.vertical.bias": [11],
        "kernels.horizontal.weight": [11, 16, 3, 3],
        "kernels.horizontal.bias": [11],
    }


def test_kernels_are_added_to_a_copy() -> None:
    predictor = filled(SDCNet2D).to(torch.bfloat16)
    network = with_kernels(predictor)
    assert {value.dtype for value in network.state_dict().values()} == {torch.bfloat16}
    before = predictor.conv1[0].bias.clone()
    with torch.no_grad():
        network.conv1[0].bias += 1
    assert torch.equal(predictor.conv1[0].bias, before)


def test_kernels_are_not_added_twice_nor_without_a_middle() -> None:
    predictor = SDCNet2D(width=0.1)
    with pytest.raises(ValueError, match="takes a predictor that has none yet, found SDCNet2DKernels"):
        with_kernels(with_kernels(predictor))
    for kernel_size in (0, 4, -1):
        with pytest.raises(ValueError, match=f"kernel_size must be odd, .*; found {kernel_size}"):
            with_kernels(predictor, kernel_size)


def test_displacement_does_not_depend_on_the_kernels(learned: KernelPredictor) -> None:
    plain = SDCNet2D(width=0.1)
    fill(plain)
    sequence = random_sequence(plain, 64, 64)
    flow, frame = learned(*sequence)
    assert torch.equal(flow, plain.displacement(*sequence))
    assert torch.equal(flow, learned.displacement(*sequence))
    assert (frame - plain(*sequence).frame).abs().mean() > 10  # while the frame does


def test_kernels_filter_around_the_displaced_position_down_and_across() -> None:
    network = DisplacedKernels(in_channels=1, kernel_size=3)
    with torch.no_grad():
        network.vertical.bias.copy_(torch.tensor([0.0, 0, 2]))  # 1 here and 2 below
        network.horizontal.bias.copy_(torch.tensor([0.0, -1, 1]))  # that of the right alone
    source = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    flow = torch.tensor([2.0, -1]).view(1, 2, 1, 1).expand(1, 2, 9, 12)
    with torch.no_grad():
        frame = network(torch.zeros(1, 1, 64, 64), source, flow)
    right = source.roll((1, -3), dims=(2, 3))  # 2 of the flow and 1 of the kernel
    expected = right + 2 * right.roll(-1, dims=2)
    torch.testing.assert_close(frame[..., 2:-2, :-4], expected[..., 2:-2, :-4])


@pytest.mark.parametrize("size", [(1, 1), (63, 65), (97, 130)])
def test_takes_frames_of_any_size(learned: KernelPredictor, size: tuple[int, int]) -> None:
    flow, frame = learned(*random_sequence(learned, *size))
    assert flow.shape == (1, 2, *size)
    assert frame.shape == (1, 3, *size)
    assert frame.isfinite().all()


def test_gradients_of_the_kernels_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    network = DisplacedKernels(in_channels=1, kernel_size=3).double()
    names, parameters = zip(*network.named_parameters(), strict=True)
    shapes = [(1, 1, 4, 5), (1, 2, 3, 4), (1, 2, 3, 4), *(parameter.shape for parameter in parameters)]
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def predict(features: Tensor, source: Tensor, flow: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (features, source, flow))

    assert torch.autograd.gradcheck(predict, inputs)


def test_half_precision_costs_no_brightness() -> None:
    network = with_kernels(filled(SDCNet2D), kernel_size=5).requires_grad_(False)
    with torch.no_grad():
        for bias in (network.kernels.vertical.bias, network.kernels.horizontal.bias):
            bias.copy_(torch.tensor([0, 0, -0.001, 0.001, 0]))  # 1 - 0.001 is 1 in bfloat16
    frames, flows = torch.full((1, 2, 3, 64, 64), 200.0), torch.zeros(1, 1, 2, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = network(frames, flows)
    half = network.to(torch.bfloat16)(frames.to(torch.uint8), flows.to(torch.bfloat16))
    for prediction in (autocast, half):
        assert [tensor.dtype for tensor in prediction] == [torch.float32] * 2
        torch.testing.assert_close(prediction.frame, frames[:, 0], atol=0.01, rtol=0)


def test_compiles_without_breaks(learned: KernelPredictor) -> None:
    torch.compiler.reset()
    frames, flows = random_sequence(learned, 64, 64)
    expected = learned(frames, flows)
    compiled = torch.compile(learned, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(tuple(compiled(frames, flows)), tuple(expected))


def test_kernels_learn_a_blur_that_no_displacement_can_show() -> None:
    generator = torch.Generator().manual_seed(0)
    sharp = 255 * torch.rand(1, 3, 64, 64, generator=generator)
    blurred = F.avg_pool2d(F.pad(sharp, [1] * 4, mode="replicate"), 3, 1)
    frames, flows = torch.stack((sharp, sharp), dim=1), torch.zeros(1, 1, 2, 64, 64)

    def fit(network: VideoPredictor, learning_rate: float) -> float:
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(parameters, learning_rate)
        for _ in range(60):
            optimizer.zero_grad()
            loss = colour_loss(network(frames, flows).frame, blurred)
            loss.backward()
            optimizer.step()
        return loss.item()

    still = filled(SDCNet2D)
    with torch.no_grad():  # its displacement is the true one to begin with: nothing moves
        still.final_flow.weight.zero_()
        still.final_flow.bias.copy_((-still.flow_mean / (3 * still.flow_std)).flatten())
    network = with_kernels(still, kernel_size=3).requires_grad_(False)
    network.kernels.requires_grad_(True)
    assert fit(network, 0.01) < fit(still, 1e-4) / 3
    assert torch.equal(network.displacement(frames, flows).abs() < 1e-4, torch.ones(1, 2, 64, 64, dtype=torch.bool))


def test_warping_is_what_remains_of_one_tap() -> None:
    source = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    flow = 8 * torch.randn(1, 2, 8, 9, generator=torch.Generator().manual_seed(1))  # also far outside
    network = DisplacedKernels(in_channels=1, kernel_size=1).requires_grad_(False)
    torch.testing.assert_close(network(torch.rand(1, 1, 8, 9), source, flow), warp_frames(source, flow))
