"""What `propagate evaluate` prints, to the character: programs may read it."""

import json

import numpy as np

from propagate.scoring.report import OffsetCounts, Report, TruthFailure


def report() -> Report:
    """Two classes of three that occur, at offsets -1, 1 and 2; nothing along boundaries at the last."""
    found = Report.empty(("road", "a long name", "sky"))
    whole = np.array([[5, 1, 0, 0], [2, 2, 0, 1], [0, 0, 0, 0]])
    reliability = np.zeros((16, 2), np.int64)
    reliability[:4, 0], reliability[12:, 1] = 1, 7
    for offset, band in ((-1, whole // 2), (1, whole // 2), (2, 0 * whole)):
        found.add(offset, OffsetCounts(1000 if offset == 2 else 1, whole, band), reliability)
    found.failures.append(TruthFailure("b", "a", 1, "truth/b.png", "is damaged"))
    return found


def test_the_tables() -> None:
    assert report().table() == TABLES


def test_the_scores_as_json_have_null_where_nothing_was_there_to_score() -> None:
    values = report().to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["offsets"]["2"]["trimap_miou"] is None
    assert values["classes"]["sky"] is None
    assert [entry["right"] for entry in values["confidence"]["bins"]] == [0.0, None, None, 1.0]


TABLES = """\
offset  samples  mIoU  covered mIoU  accuracy  coverage  trimap mIoU
-1            1  47.9          51.2      63.6      90.9         58.3
+1            1  47.9          51.2      63.6      90.9         58.3
+2         1000  47.9          51.2      63.6      90.9            -
±1            2  47.9          51.2      63.6      90.9         58.3
±2         1000  47.9          51.2      63.6      90.9            -
mean ±     1002  47.9

class         IoU
road         62.5
a long name  33.3
sky             -

confidence    pixels  right
0.00 to 0.25    12.5    0.0
0.25 to 0.50     0.0      -
0.50 to 0.75     0.0      -
0.75 to 1.00    87.5  100.0

failed: truth/b.png: is damaged

mIoU 47.9 %, the mean over |offset|: 1002 samples scored, 0 without truth, 1 failed"""
