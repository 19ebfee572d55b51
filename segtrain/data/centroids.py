"""Where each class lies in each tile of a label map: what class-uniform sampling puts its crops around.

Tiles at the right and at the bottom of an image may be partial. The published code drops those, and with them whatever
lies there and every image that is smaller than a tile.

Reference: Zhu et al., CVPR 2019, section 3.4.
"""

from dataclasses import dataclass, fields

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID
from propagate.shards.cells import CellStatistics
from propagate.shards.schema import CELL

NUM_VALUES = 256  # of a label map: label ids and train ids


@dataclass(frozen=True)
class Centroids:
    """One row per sample, tile and class that occurs in it, in that order, tiles along rows of tiles; all [n].

    sample int64: the number of the sample. train_id uint8: the class. x, y int32: the mean of its pixels in the tile,
    rounded down, in pixels of the whole image. The pixel there may be of another class. num_pixels int64: how many
    pixels of the class the tile has.
    """

    sample: np.ndarray
    train_id: np.ndarray
    x: np.ndarray
    y: np.ndarray
    num_pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.sample)


@dataclass(frozen=True)
class TileGrid:
    """How images of height x width are cut into square tiles.

    partial: whether those that the right or the bottom border cuts off count; as published, they don't.
    Raises: ValueError for a tile below 1 pixel.
    """

    height: int
    width: int
    tile: int
    partial: bool = True

    def __post_init__(self) -> None:
        if self.tile < 1:
            raise ValueError(f"a tile must have 1 pixel or more, found {self.tile}")

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile)

    @property
    def num_tiles(self) -> int:
        """Of all, the partial ones among them."""
        return self.columns * -(-self.height // self.tile)

    def number(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The number of the tile that holds each pixel."""
        return y // self.tile * self.columns + x // self.tile

    def counts(self, number: np.ndarray) -> np.ndarray:
        """Whether tiles of these numbers count."""
        if self.partial:
            return np.full(number.shape, True)
        row, column = np.divmod(number, self.columns)
        return ((row + 1) * self.tile <= self.height) & ((column + 1) * self.tile <= self.width)


def centroids_of_label_map(label: np.ndarray, train_id_of: np.ndarray, grid: TileGrid) -> Centroids:
    """The centroids in a label map [H,W] uint8 of label ids, as of sample 0.

    train_id_of: [256] uint8, label id -> train id, 255 where not trained. Counted over runs of equal labels within one
    row of one tile: some thirty times fewer than pixels.
    """
    begins = np.empty(label.shape, bool)
    begins[:, 1:] = label[:, 1:] != label[:, :-1]
    begins[:, :: grid.tile] = True
    start = np.flatnonzero(begins)
    length = np.diff(start, append=label.size)
    y, x = np.divmod(start, grid.width)
    return _added_up(
        grid,
        sample=np.zeros_like(start),
        number=grid.number(x, y),
        train_id=train_id_of[label.ravel()[start]],
        count=length,
        sum_x=length * x + length * (length - 1) // 2,
        sum_y=length * y,
    )


def centroids_of_cells(sample: np.ndarray, cells: CellStatistics, train_id_of: np.ndarray, grid: TileGrid) -> Centroids:
    """The same from the statistics of 64x64 cells; sample: [rows] the number of the sample whose row it is.

    Exact for tiles of a multiple of 64 pixels. A cell that lies in several other tiles goes to that of its centre.
    """
    row, column = np.divmod(cells.cell.astype(np.int64), -(-grid.width // CELL))
    x = np.minimum(column * CELL + CELL // 2, grid.width - 1)
    y = np.minimum(row * CELL + CELL // 2, grid.height - 1)
    train_id = train_id_of[cells.label_id]
    return _added_up(grid, sample, grid.number(x, y), train_id, cells.count, cells.sum_x, cells.sum_y)


def _added_up(
    grid: TileGrid,
    sample: np.ndarray,
    number: np.ndarray,
    train_id: np.ndarray,
    count: np.ndarray,
    sum_x: np.ndarray,
    sum_y: np.ndarray,
) -> Centroids:
    """Rows of the same sample, tile and class become one; those that aren't trained none."""
    kept = np.flatnonzero((train_id != IGNORE_TRAIN_ID) & grid.counts(number))
    key = ((sample.astype(np.int64) * grid.num_tiles + number) * NUM_VALUES + train_id)[kept]
    order = np.argsort(key, kind="stable")  # which makes use of the order that there is: three times as fast
    key, rows = key[order], kept[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    found = key[first]
    total, total_x, total_y = (
        np.add.reduceat(values[rows].astype(np.int64), first) for values in (count, sum_x, sum_y)
    )
    return Centroids(
        sample=found // (NUM_VALUES * grid.num_tiles),
        train_id=(found % NUM_VALUES).astype(np.uint8),
        x=(total_x // total).astype(np.int32),
        y=(total_y // total).astype(np.int32),
        num_pixels=total,
    )


def join_centroids(parts: list[Centroids]) -> Centroids:
    """All rows, one part after the other."""
    return Centroids(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Centroids)))
