"""What `sdcnet evaluate` prints, to the character: programs may read it."""

import math

from sdcnet.evaluate import Evaluation, FrameScores
from sdcnet.scores import FlowErrors, ImageScores


def frame(psnr: float, flow: FlowErrors | None = None) -> FrameScores:
    whole, inside = ImageScores(psnr, 0.98765, 1.2345), ImageScores(math.nan, math.nan, math.nan)
    return FrameScores(whole=whole, inside=inside, share_inside=0.5, flow=flow, flow_unoccluded=None, repeated=False)


def test_columns_without_scores_are_left_out_and_gaps_marked() -> None:
    known = frame(31.256, FlowErrors(num_pixels=200, total=150.0, num_outliers=3))
    found = Evaluation({}, {"street/a long name": [known, frame(28.0)], "b": [frame(math.inf)], "none": []})
    assert found.table() == TABLE


def test_one_source_has_no_sum() -> None:
    assert Evaluation({}, {"b": [frame(30.0)]}).table() == ONE


TABLE = """\
source              frames  PSNR dB    SSIM    L1  inside  EPE px     Fl
street/a long name       2    29.63  0.9877  1.23   50.0%   0.750  1.50%
b                        1      inf  0.9877  1.23   50.0%       -      -
none                     0        -       -     -       -       -      -
all                      3      inf  0.9877  1.23   50.0%   0.750  1.50%"""
ONE = """\
source  frames  PSNR dB    SSIM    L1  inside
b            1    30.00  0.9877  1.23   50.0%"""
