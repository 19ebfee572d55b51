"""Images of any size to classes: windows as published, merged as is right, and in memory that windows bound."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.training.runtime import Runtime
from segtrain.errors import InferenceError, SegtrainError
from segtrain.inference import Grid, Inference, class_probabilities, make_grid, merge, segment, window_starts
from segtrain.models.preprocessing import normalised
from segtrain.models.registry import build_network

GOLDEN = Path(__file__).parent.parent / "golden"
SLIDING = json.loads((GOLDEN / "segmentation_misc.json").read_text())["sliding"]
CPU = Runtime(device=torch.device("cpu"))


def brightest(images: Tensor) -> Tensor:
    """Logits of three classes: red, green and blue, each pixel by itself."""
    return 4 * images


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def put_together(grid: Grid, windows: Tensor) -> np.ndarray:
    """The blocks of a merge as one map; NaN where there is none."""
    merged = torch.full((windows.shape[1], *grid.size), float("nan"))
    for top, left, probabilities in merge(grid, windows.clone()):
        place = merged[:, top : top + probabilities.shape[1], left : left + probabilities.shape[2]]
        assert torch.isnan(place).all()
        place.copy_(probabilities)
    return merged.numpy()


@pytest.mark.parametrize("case", SLIDING)
def test_windows_lie_where_the_published_evaluation_puts_them(case: str) -> None:
    size, crop, scale = case.split("_")
    height, width = map(int, size.split("x"))
    # published windows count pixels of the enlarged image; of an image made smaller, they show more of it
    window = int(int(crop.removeprefix("crop")) * max(1.0, float(scale.removeprefix("scale"))))
    boxes = [
        [x, y, min(x + window, width), min(y + window, height)]
        for x in window_starts(width, window, 1 / 3)
        for y in window_starts(height, window, 1 / 3)
    ]
    assert boxes == SLIDING[case]["boxes_x1y1x2y2"]


def golden_merge() -> tuple[Grid, Tensor, np.ndarray]:
    """The published case: its grid, its windows [6,5,32,32], row by row, and their mean [5,36,64]."""
    with np.load(GOLDEN / "segmentation_misc.npz") as golden:
        crops, mean = golden["merge_36x64_crop32_crops"], golden["merge_36x64_crop32_mean"]
    grid = make_grid((36, 64), Inference(window=(32, 32)))
    by_column = crops.reshape(len(grid.lefts), len(grid.tops), *crops.shape[1:])
    return grid, torch.from_numpy(by_column.swapaxes(0, 1).reshape(crops.shape).copy()), mean


def test_a_pixel_has_the_mean_of_the_windows_that_see_it() -> None:
    grid, windows, mean = golden_merge()
    np.testing.assert_allclose(put_together(grid, windows), mean, rtol=0, atol=1e-6)  # float32 sums in another order


def test_the_published_counts_of_windows_are_of_the_class_and_the_row() -> None:
    grid, windows, mean = golden_merge()
    right, published = np.zeros((36, 64)), np.zeros((64, 64))
    for top in grid.tops:
        for left in grid.lefts:
            right[top : top + 32, left : left + 32] += 1
            published[top : top + 32, left : left + 32] += 1  # [class, row]
    wrong = mean * right / published[:5, :36, None]
    with np.load(GOLDEN / "segmentation_merge.npz") as golden:
        np.testing.assert_allclose(wrong, golden["merge_36x64_crop32_official"], rtol=0, atol=1e-5)
    ours = put_together(grid, windows)
    assert (ours.argmax(0) != wrong.argmax(0)).mean() == pytest.approx(0.098, abs=1e-3)


@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.7])
@pytest.mark.parametrize(("size", "window"), [((20, 31), (7, 9)), ((15, 9), (8, 9)), ((9, 40), (8, 8))])
def test_blocks_cover_the_image_once_whatever_the_windows(
    size: tuple[int, int], window: tuple[int, int], overlap: float
) -> None:
    grid = make_grid(size, Inference(window=window, overlap=overlap))
    places = [(top, left) for top in grid.tops for left in grid.lefts]
    whole = torch.rand(3, *grid.size, generator=torch.Generator().manual_seed(0))
    windows = torch.stack([whole[:, top : top + window[0], left : left + window[1]] for top, left in places])
    np.testing.assert_allclose(put_together(grid, windows), whole.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "inference",
    [
        Inference(),
        Inference(flip=True),
        Inference(window=(16, 24)),
        Inference(window=(64, 16), flip=True),
        Inference(window=(70, 90)),
    ],
)
def test_windows_and_mirrors_change_nothing_where_pixels_stand_alone(inference: Inference) -> None:
    image = noise(37, 61)
    found = segment(brightest, image, inference, CPU)
    expected = normalised(torch.from_numpy(image).permute(2, 0, 1)[None])[0].argmax(0)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_a_network_sees_the_normalised_image_and_nothing_else() -> None:
    torch.manual_seed(0)
    network = CPU.prepare(build_network("resnet18", num_classes=5))
    image = noise(45, 70)
    with torch.no_grad():
        expected = network(normalised(torch.from_numpy(image).permute(2, 0, 1)[None]))[0].argmax(0)
    np.testing.assert_array_equal(segment(network, image, Inference(), CPU), expected)


def test_a_window_larger_than_the_image_is_the_image() -> None:
    seen = []

    def network(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    image = noise(5, 12)
    assert segment(network, image, Inference(window=(8, 10)), CPU).shape == (5, 12)
    assert [part.shape for part in seen] == [(2, 3, 5, 10)]


def test_probabilities_are_averaged_over_scales_and_mirrors() -> None:
    sizes: list[tuple[int, int]] = []

    def network(images: Tensor) -> Tensor:
        """Two classes: of the left half, and of the right."""
        sizes.append((images.shape[2], images.shape[3]))
        right = torch.linspace(-1, 1, images.shape[3]).expand(1, 1, images.shape[2], -1)
        return torch.cat((-right, right), dim=1)

    images = torch.from_numpy(noise(8, 12)).permute(2, 0, 1)[None]
    one = class_probabilities(network, images, (1.0,), flip=False)
    two = class_probabilities(network, images, (1.0,), flip=True)
    sizes.clear()
    scaled = class_probabilities(network, images, (0.5, 1.0, 2.0), flip=False)
    assert sizes == [(4, 6), (8, 12), (16, 24)]
    assert scaled.shape == one.shape == (1, 2, 8, 12)
    torch.testing.assert_close(scaled.sum(dim=1), torch.ones(1, 8, 12))
    assert one[0, 0, 0, 0] > 0.8
    torch.testing.assert_close(two, torch.full_like(two, 0.5))  # of a mirrored network's logits, left is right
    halves = [class_probabilities(network, images, (scale,), flip=False) for scale in (0.5, 1.0, 2.0)]
    torch.testing.assert_close(scaled, torch.stack(halves).mean(dim=0))


def test_the_same_in_as_many_windows_at_a_time_as_go_through(monkeypatch: pytest.MonkeyPatch) -> None:
    image, inference = noise(40, 60), Inference(window=(16, 16))
    torch.manual_seed(0)
    network = CPU.prepare(nn.Conv2d(3, 4, 3, padding=1))
    one = segment(network, image, inference, CPU)
    monkeypatch.setattr(Runtime, "samples_at_a_time", lambda *_: 5)
    np.testing.assert_array_equal(segment(network, image, inference, CPU), one)


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that anything computes."""

    num_values = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.num_values = max(self.num_values, result.numel())
        return result


def test_memory_does_not_grow_with_the_height_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "samples_at_a_time", lambda *_: 1)
    network, largest = CPU.prepare(nn.Conv2d(3, 20, 1)), []
    for height in (32 + 8 * 22, 32 + 17 * 22):
        with LargestTensor() as noted:
            segment(network, noise(height, 98), Inference(window=(32, 32)), CPU)
        largest.append(noted.num_values)
    assert largest[0] == largest[1] <= 20 * 32 * 98


def test_scores_that_are_not_finite_are_an_error_of_this_package() -> None:
    with pytest.raises(InferenceError, match="scores are not finite, computed in float32: check the weights"):
        segment(lambda images: images / 0, noise(4, 4), Inference(), CPU)


def test_too_little_memory_says_what_to_choose() -> None:
    def network(_: Tensor) -> Tensor:
        raise MemoryError

    with pytest.raises(SegtrainError, match="out of memory on cpu with 16x32 pixels at a time; choose a --window smal"):
        segment(network, noise(8, 16), Inference(scales=(1.0, 2.0)), CPU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": ()}, "scales must be one or more"),
        ({"scales": (1.0, 0.0)}, "scales must be one or more positive"),
        ({"window": (0, 4)}, "window must be at least 1x1"),
        ({"overlap": 1.0}, "overlap must be within 0…0.99, found 1.0"),
        ({"overlap": 0.5}, "--overlap is of windows, and images are seen whole; give --window too, or leave it out"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Inference(**settings)  # type: ignore[arg-type]


def test_logits_of_fewer_pixels_are_enlarged_before_they_become_probabilities() -> None:
    """Each pixel of theirs stands for four of the image, whose centre is its own."""
    logits = 3 * torch.randn(1, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    found = class_probabilities(lambda _: logits, torch.zeros(1, 3, 12, 16, dtype=torch.uint8), (1.0,), flip=False)
    expected = F.interpolate(logits, (12, 16), mode="bilinear", align_corners=False).softmax(dim=1)
    torch.testing.assert_close(found, expected)


def test_an_image_made_smaller_is_averaged_over_what_becomes_a_pixel() -> None:
    """Of every fourth column, which alone is not black, a quarter is left."""
    seen: list[Tensor] = []

    def network(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    stripes = (torch.arange(32) % 4 == 0).expand(1, 3, 32, 32) * 252
    class_probabilities(network, stripes.to(torch.uint8), (0.25,), flip=False)
    grey = normalised(torch.full((1, 3, 8, 8), 63, dtype=torch.uint8))
    torch.testing.assert_close(seen[0][..., 2:-2], grey[..., 2:-2], atol=0.01, rtol=0)
