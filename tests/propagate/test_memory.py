"""Labels carried between arrays, by one call."""

import subprocess
import sys
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

import propagate
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import CARRYING
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


def test_labels_are_carried_as_the_stores_of_this_number_say() -> None:
    """Where this fails, labels are carried otherwise than in stores of that number: give CARRYING the next one."""
    random = np.random.default_rng(5)
    texture = cv2.GaussianBlur(random.integers(0, 256, (60, 110, 3)).astype(np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = [np.ascontiguousarray(texture[4:52, 3 * n : 3 * n + 64]) for n in range(3)]
    frames[2][10:30, 20:36] = 40  # something else comes into view
    label = (random.integers(0, 3, (6, 8)).repeat(8, 0).repeat(8, 1)).astype(np.uint8)
    expected = {  # pixels of each label, mean confidence in levels, pixels of each reason
        "composed": [([975, 905, 1192], 14.9, [2928, 0, 0, 144]), ([918, 993, 1161], 13.3, [1570, 1214, 0, 288])],
        "recursive": [([976, 904, 1192], 14.9, [2928, 0, 0, 144]), ([929, 975, 1168], 13.3, [1570, 1214, 0, 288])],
    }
    for resample, numbers in expected.items():
        _, *carried = propagate.propagate(frames, label, settings=SampleSettings(resample=resample))
        for sample, (labels, confidence, reasons) in zip(carried, numbers, strict=True):
            assert sample.reason is not None
            # libraries and processors round otherwise
            assert np.bincount(sample.label.ravel(), minlength=3).tolist() == pytest.approx(labels, abs=3)
            assert np.bincount(sample.reason.ravel(), minlength=4).tolist() == pytest.approx(reasons, abs=3)
            assert sample.confidence.mean() == pytest.approx(confidence, abs=0.1)
    assert CARRYING == "5"
