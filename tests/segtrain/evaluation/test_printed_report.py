"""What `segtrain evaluate` prints, to the character: it is pasted into documents, and programs may read it."""

import json

import numpy as np

from segtrain.evaluation.band import Band
from segtrain.evaluation.report import LeftOut, SegmentationReport


def report(instances: np.ndarray | None = None) -> SegmentationReport:
    """Two classes of three that occur."""
    whole = np.array([[50, 10, 0, 0], [20, 20, 0, 0], [0, 0, 0, 0]])
    return SegmentationReport(
        class_names=("road", "a long name", "sky"),
        images=3,
        whole=whole,
        near=0 * whole,
        band=Band(width=3),
        instances=instances,
        failures=(LeftOut(image="b", reason="b.png: is damaged"), LeftOut(image="c", reason="c.png: empty file")),
    )


def test_the_tables() -> None:
    assert report().markdown() == TABLES
    assert report(np.zeros((3, 2))).markdown().startswith(WITH_INSTANCES)


def test_the_scores_as_json_have_null_where_nothing_was_there_to_score() -> None:
    values = report().to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert (values["trimap_miou"], values["iiou"]) == (None, None)
    assert values["classes"]["sky"] == {"iou": None, "recall": None, "precision": None, "trimap_iou": None}
    assert values["miou"] == (50 / 80 + 20 / 50) / 2


TABLES = """\
| images |    mIoU | accuracy | mean class accuracy | frequency-weighted IoU | trimap mIoU, 3 px |
| ------ | ------: | -------: | ------------------: | ---------------------: | ----------------: |
| 3      | 51.25 % |  70.00 % |             66.67 % |                53.50 % |                 – |

| class       |     IoU |  recall | precision | trimap IoU, 3 px |
| ----------- | ------: | ------: | --------: | ---------------: |
| road        | 62.50 % | 83.33 % |   71.43 % |                – |
| a long name | 40.00 % | 50.00 % |   66.67 % |                – |
| sky         |       – |       – |         – |                – |

- left out: b.png: is damaged
- left out: c.png: empty file"""
WITH_INSTANCES = """\
| images |    mIoU | accuracy | mean class accuracy | frequency-weighted IoU | trimap mIoU, 3 px | iIoU |
| ------ | ------: | -------: | ------------------: | ---------------------: | ----------------: | ---: |
| 3      | 51.25 % |  70.00 % |             66.67 % |                53.50 % |                 – |    – |"""
