"""How much of each class there is to train on."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.console.tables import Table
from segtrain.data.index import ClassIndex


@dataclass(frozen=True)
class ClassStatistics:
    """Of each class, by train id, all [C] int64: its pixels, the samples it occurs in, and its centroids."""

    names: tuple[str, ...]
    num_samples: int
    pixels: np.ndarray
    samples: np.ndarray
    centroids: np.ndarray

    @classmethod
    def of(cls, index: ClassIndex) -> "ClassStatistics":
        found, num_classes = index.centroids, index.num_classes
        occurs = np.unique(found.sample * num_classes + found.train_id) % num_classes
        return cls(
            names=index.class_names,
            num_samples=len(index.records),
            pixels=np.bincount(found.train_id, weights=found.num_pixels, minlength=num_classes).astype(np.int64),
            samples=np.bincount(occurs, minlength=num_classes),
            centroids=np.bincount(found.train_id, minlength=num_classes),
        )

    @property
    def share(self) -> np.ndarray:
        """[C] float64: of all trained pixels; 0 for every class where there are none."""
        return self.pixels / max(1, self.pixels.sum())

    @property
    def absent(self) -> tuple[str, ...]:
        """The names of the classes without a pixel."""
        return tuple(name for name, pixels in zip(self.names, self.pixels, strict=True) if not pixels)

    def to_json(self) -> dict[str, Any]:
        columns = (self.pixels, self.share, self.samples, self.centroids)
        rows = zip(self.names, *(column.tolist() for column in columns), strict=True)
        keys = ("name", "pixels", "share", "samples", "centroids")
        return {
            "samples": self.num_samples,
            "classes": [{"train_id": number, **dict(zip(keys, row, strict=True))} for number, row in enumerate(rows)],
            "absent": list(self.absent),
        }

    def __str__(self) -> str:
        """A table for people, a line per class."""
        heads = ("class", f"{'pixels':>15}", f"{'share':>8}", f"{'samples':>8}", "centroids")  # room for large stores
        columns = (self.pixels, self.share, self.samples, self.centroids)
        rows = [
            (name, f"{pixels:,}", f"{share:.3%}", f"{samples:,}", f"{centroids:,}")
            for name, pixels, share, samples, centroids in zip(self.names, *columns, strict=True)
        ]
        return Table(heads, rows).text()
