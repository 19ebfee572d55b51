"""What `segtrain index` prints, to the character: programs may read it."""

import numpy as np

from segtrain.data.class_statistics import ClassStatistics


def test_the_table_of_classes() -> None:
    counts = np.array([3, 0, 1])
    statistics = ClassStatistics(
        names=("road", "a long name", "sky"),
        num_samples=3,
        pixels=np.array([123_456_789, 0, 2_100]),
        samples=counts,
        centroids=1000 * counts,
    )
    assert str(statistics) == TABLE


TABLE = """\
class                 pixels     share   samples  centroids
road             123,456,789   99.998%         3      3,000
a long name                0    0.000%         0          0
sky                    2,100    0.002%         1      1,000"""
