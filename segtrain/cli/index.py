"""The command `segtrain index`."""

from dataclasses import MISSING, dataclass
from pathlib import Path

import click

from jobs.console.options import command, configured, json_option
from jobs.console.settings import setting
from jobs.console.values import print_json
from propagate.shards.schema import CELL


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Which store is looked at, and how closely."""

    store: Path = setting(MISSING, "The shard store.", argument="STORE")
    tile: int = setting(
        1024, f"Pixels, {CELL} or more; a class has a centroid in each tile it occurs in. Exact in multiples of {CELL}."
    )

    def __post_init__(self) -> None:
        if self.tile < CELL:
            raise ValueError(f"--tile: {self.tile} is not in the range x>={CELL}; a store counts cells of that side")


@command("index")
@configured(config=IndexConfig)
@json_option
def index(config: IndexConfig, as_json: bool) -> None:
    """Say how much of each trained class the samples of STORE hold, from its statistics alone.

    pixels: and their share of all that are trained; samples: that the class occurs in; centroids: the places that
    class-uniform sampling can crop around.

    \b
    segtrain index shards
    segtrain index shards --tile 512 --json
    """
    from propagate.shards.reader import open_store
    from segtrain.data.class_statistics import ClassStatistics
    from segtrain.data.index import index_store

    statistics = ClassStatistics.of(index_store(open_store(config.store), config.tile))
    if as_json:
        print_json({"store": str(config.store), "tile": config.tile, **statistics.to_json()})
        return
    click.echo(statistics)
    click.echo(
        f"{statistics.num_samples} samples, tiles of {config.tile}x{config.tile}; without a pixel: "
        f"{_listed(statistics.absent)}"
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no class"
