"""Labels carried on a device are those carried on the host: here the device is the CPU."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from jobs.training.transfers import Transfers
from propagate.carry.confidence import confidence, match, reasons, to_outline
from propagate.carry.paths import CarryingPath, DevicePath, HostPath
from propagate.carry.refinement import RefinedWay, refine, sharpen
from propagate.data.sample import quantize_confidence
from sdcnet.geometry import warp_labels

HOST = HostPath()
SIZE = (140, 220)


@pytest.fixture
def device() -> DevicePath:
    return DevicePath(Transfers(torch.device("cpu")))


def texture(seed: int, blur: float) -> Tensor:
    noise = np.random.default_rng(seed).random((*SIZE, 3), dtype=np.float32)
    pixels = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), blur), None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def flow(seed: int, reach: float) -> Tensor:
    coarse = torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(seed)) * reach
    return torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic")


def patches(seed: int) -> Tensor:
    """A label map [1,1,H,W] of some forty patches."""
    coarse = torch.randint(0, 30, (1, 1, 5, 8), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse.float(), size=SIZE, mode="nearest").byte()


@pytest.mark.parametrize("side", [7, 31])
@pytest.mark.parametrize("size", [SIZE, (12, 17), (5, 40)])
def test_windows_have_one_mean(device: DevicePath, side: int, size: tuple[int, int]) -> None:
    image = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0)) * 255
    torch.testing.assert_close(device.window_mean(image, side), HOST.window_mean(image, side), rtol=0, atol=1e-3)


def test_greys_are_the_same(device: DevicePath) -> None:
    frame = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(device.grey(frame), HOST.grey(frame))


@pytest.mark.parametrize("reach", [0.5, 8.0, 60.0])
def test_both_choose_the_same_displacement(device: DevicePath, reach: float) -> None:
    target, annotated = texture(0, 2), texture(0, 2.2)
    found = []
    for path in (HOST, device):
        choice = path.choice(target, annotated)
        for seed in range(3):
            choice.offer(flow(seed, reach))
        found.append(choice.among_neighbours((8, 4)))
    assert (found[0] != found[1]).any(dim=1).float().mean() < 1e-4


@pytest.mark.parametrize("reach", [0.5, 8.0, 60.0])
def test_confidence_is_the_same_within_a_level(device: DevicePath, reach: float) -> None:
    target, annotated = texture(0, 2), texture(1, 2)
    host, other = (
        quantize_confidence(
            confidence(match(flow(0, reach), target, annotated, path), to_outline(patches(0), path))
        ).int()
        for path in (HOST, device)
    )
    assert (host - other).abs().max() <= 1
    assert (host != other).float().mean() < 1e-3


@pytest.mark.parametrize("reach", [0.5, 8.0, 60.0])
def test_reasons_are_the_same(device: DevicePath, reach: float) -> None:
    target, annotated = texture(0, 2), texture(1, 2)
    host, other = (reasons(match(flow(0, reach), target, annotated, path), path) for path in (HOST, device))
    assert (host != other).float().mean() < 1e-3
    assert len(host.unique()) > 1


@pytest.mark.parametrize("most", [1, 5, 16])
def test_distances_are_the_same(device: DevicePath, most: int) -> None:
    marked = torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(0)) < 0.002
    found = HOST.distance(marked, most)
    assert torch.equal(device.distance(marked, most), found)
    assert found.dtype == torch.float32
    assert (found[marked] == 0).all()
    y, x = marked[0, 0].nonzero()[0].tolist()
    assert found[0, 0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max() == 1
    nothing = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    assert (HOST.distance(nothing, most) == most).all()
    assert (device.distance(nothing, most) == most).all()


@pytest.mark.parametrize("name", ["host", "device"])
def test_confidence_of_several_frames_is_that_of_each(name: str, device: DevicePath) -> None:
    path: CarryingPath = device if name == "device" else HOST
    annotated, targets = texture(0, 2), [texture(seed, 2) for seed in range(3)]
    flows = [flow(seed, 8.0) for seed in range(3)]
    labels = [patches(seed) for seed in range(3)]
    each = [match(one, target, annotated, path) for one, target in zip(flows, targets, strict=True)]
    found = match(torch.cat(flows), torch.cat(targets), annotated, path)
    to_each = [to_outline(label, path) for label in labels]
    alone = [confidence(one, boundary) for one, boundary in zip(each, to_each, strict=True)]
    assert torch.equal(confidence(found, to_outline(torch.cat(labels), path)), torch.cat(alone))
    assert torch.equal(reasons(found, path), torch.cat([reasons(one, path) for one in each]))


def test_labels_are_carried_alike_over_a_walk_between_large_frames(
    device: DevicePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("propagate.carry.refinement.LARGEST_SMALL", SIZE[0] * SIZE[1] // 2)
    monkeypatch.setattr(HostPath, "candidates", DevicePath.candidates)
    frames = [texture(0, 2 + 0.1 * k).roll(3 * k, dims=3) for k in range(4)]
    ways = [RefinedWay(frames[0], path) for path in (HOST, device)]
    label = torch.randint(0, 30, (1, 1, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for number, frame in enumerate(frames[1:]):
        host, other = (
            way.extended(flow(number, 2.0) + torch.tensor([-3.0, 0]).view(1, 2, 1, 1), frame) for way in ways
        )
        assert (warp_labels(label, host) != warp_labels(label, other)).float().mean() < 1e-4


def test_sharpening_lifts_alike(device: DevicePath) -> None:
    target, annotated = texture(0, 2), texture(0, 2.2)
    half = torch.nn.functional.avg_pool2d(flow(0, 8.0), 2) / 2
    host, other = (sharpen(half, target, annotated, path) for path in (HOST, device))
    assert ((host - other).abs() > 1e-4).any(dim=1).float().mean() < 1e-4


def test_transfers_are_counted() -> None:
    transfers = Transfers(torch.device("cpu"))
    transfers.to_device(torch.zeros(10, dtype=torch.uint8))
    transfers.to_device(torch.zeros(5))
    transfers.to_host(torch.zeros(7, dtype=torch.uint8))
    assert (transfers.up, transfers.bytes_up, transfers.down, transfers.bytes_down) == (2, 30, 1, 7)


def test_a_drift_of_a_pixel_is_taken_back_on_a_device(device: DevicePath) -> None:
    frame = texture(0, 2)
    drifted = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, *SIZE)
    assert refine(drifted, frame, frame, device)[..., 8:-8, 8:-8].abs().max() == 0
