"""Labels carried between arrays, by one call."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import propagate
from propagate.carry.sample_settings import SampleSettings
from propagate.errors import PropagateError
from sdcnet.errors import MotionError
from sdcnet.motion.registry import MotionSettings, open_estimator

RANDOM = np.random.default_rng(0)
TEXTURE = RANDOM.integers(0, 256, (48, 90, 3), np.uint8)
FRAMES = [np.ascontiguousarray(TEXTURE[:, 2 * shift : 2 * shift + 64]) for shift in range(6)]  # to the left, by 2 px
LABEL = np.zeros((48, 64), np.uint8)
LABEL[:, 32:] = 7


def test_labels_go_along_in_the_order_of_the_frames() -> None:
    samples = propagate.propagate(FRAMES, LABEL, annotated=2)
    assert [(sample.key, sample.offset) for sample in samples] == [(f"frame {n}", n - 2) for n in range(6)]
    for number, sample in enumerate(samples):
        assert isinstance(sample.image, np.ndarray)
        np.testing.assert_array_equal(sample.image, FRAMES[number])
        assert (sample.label[24] == 0).sum() == 32 - 2 * (number - 2)
    np.testing.assert_array_equal(samples[2].label, LABEL)


@pytest.mark.parametrize("motion", ["none", MotionSettings(name="none"), open_estimator(MotionSettings(name="none"))])
def test_motion_by_name_by_settings_or_opened(motion: object) -> None:
    samples = propagate.propagate(np.stack(FRAMES[:2]), LABEL, motion=motion)  # type: ignore[arg-type]
    np.testing.assert_array_equal(samples[1].label, LABEL)


def test_settings_hold() -> None:
    other = RANDOM.integers(0, 256, FRAMES[0].shape, np.uint8)
    (sample,) = propagate.propagate(
        [FRAMES[0], other], LABEL, settings=SampleSettings(source=False, min_confidence=0.9), ignore_id=200
    )
    assert (sample.offset, (sample.label == 200).mean() > 0.5) == (1, True)


@pytest.mark.parametrize(
    ("frames", "label", "annotated", "sentence"),
    [
        (FRAMES, LABEL.astype(int), 0, r"label must be \[H,W\] uint8, found \[48, 64\] int64"),
        (FRAMES, LABEL, 6, r"annotated must be a frame's number, within 0…5, found 6"),
        ([FRAMES[0], FRAMES[1][:40]], LABEL, 0, r"frame 1 must be \[48, 64, 3\] uint8, found \[40, 64, 3\] uint8"),
    ],
)
def test_arrays_of_another_form_are_refused(
    frames: list[np.ndarray], label: np.ndarray, annotated: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        propagate.propagate(frames, label, annotated=annotated)


def test_motion_that_cannot_be_estimated_is_an_error_that_names_the_frame() -> None:
    class Lost(type(open_estimator(MotionSettings(name="none")))):  # type: ignore[misc]
        def estimate(self, observations: object, steps: object) -> Iterator[object]:  # noqa: ARG002
            raise MotionError("it is dark")
            yield

    with pytest.raises(PropagateError, match=r"^frame 2: .*it is dark"):
        propagate.propagate(FRAMES, LABEL, annotated=1, motion=Lost())


def test_the_package_alone_needs_no_torch() -> None:
    needs_torch = "'torch' in sys.modules"
    code = f"import sys, propagate; assert not {needs_torch}; propagate.propagate; assert {needs_torch}"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'carry_it'"):
        _ = propagate.carry_it
