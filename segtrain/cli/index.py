"""The command `segtrain index`."""

import json
from pathlib import Path

import click

from propagate.shards.schema import CELL


@click.command("index")
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--tile",
    type=click.IntRange(min=CELL),
    default=1024,
    show_default=True,
    help=f"Pixels; a class has a centroid in each tile it occurs in. Exact in multiples of {CELL}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")
def index(store: Path, tile: int, as_json: bool) -> None:
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

    statistics = ClassStatistics.of(index_store(open_store(store), tile))
    if as_json:
        click.echo(json.dumps({"store": str(store), "tile": tile, **statistics.to_json()}, ensure_ascii=False))
        return
    click.echo(statistics)
    click.echo(
        f"{statistics.num_samples} samples, tiles of {tile}x{tile}; without a pixel: {_listed(statistics.absent)}"
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no class"
