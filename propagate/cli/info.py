"""The command `propagate info`."""

from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

import click

from jobs.console.options import command, configured, json_option
from jobs.console.settings import setting
from jobs.console.values import print_json
from propagate.cli.places import failed_place
from propagate.shards.reader import SampleRecord, Store, open_store

# By what samples are listed, the first that one may want to look at first.
_ORDERS: dict[str, Callable[[SampleRecord], Any]] = {
    "score": lambda record: record.score,
    "offset": lambda record: (record.offset, record.key),
    "key": lambda record: (record.key, record.source_key),
}
_FIELDS = ("score", "offset", "pairing", "origin", "key", "source_key", "digest")


@dataclass(frozen=True, kw_only=True)
class InfoConfig:
    """Which store is told of, and whether as a whole or sample by sample."""

    out: Path = setting(MISSING, "The shard store.", argument="OUT")
    samples: bool = setting(False, f"A line per sample instead, with tabs between {', '.join(_FIELDS)}.")
    sort: str | None = setting(
        None, "With --samples; score: the worst first.", choices=tuple(_ORDERS), otherwise="as they are stored"
    )

    def __post_init__(self) -> None:
        if self.sort is not None and not self.samples:
            raise ValueError("--sort orders samples; give --samples too")


@command()
@configured(config=InfoConfig)
@json_option
def info(config: InfoConfig, as_json: bool) -> None:
    """Say what a store holds.

    \b
    propagate info shards
    propagate info shards --samples --sort score
    """
    store = open_store(config.out)
    if config.samples:
        _list_samples(store, config.sort, as_json=as_json)
    else:
        _sum_up(store, as_json=as_json)


def _list_samples(store: Store, order: str | None, *, as_json: bool) -> None:
    records = list(store.records())
    if order is not None:
        records.sort(key=_ORDERS[order])
    if as_json:
        print_json({"samples": [asdict(record) for record in records]})
        return
    for record in records:
        click.echo("\t".join(f"{getattr(record, name)}" for name in _FIELDS))


def _sum_up(store: Store, *, as_json: bool) -> None:
    out = store.path
    for index in store.indices:  # each is the shard that belongs there, or this says which is not
        store.open(index).close()
    summary = store.manifest.summary()
    if as_json:
        print_json(summary)
        return
    shards, pixels = summary["shards"], sum(summary["classes"].values())
    click.echo(f"{out}: {summary['dataset']} {summary['split']}, {summary['bytes'] / 1e6:.1f} MB")
    click.echo(f"  samples    {summary['samples']} of {summary['clips']} clips")
    click.echo(f"  shards     {shards['finished']} of {shards['planned']} finished")
    click.echo(f"  sizes      {_pairs(summary['sizes'])}")
    click.echo(f"  offsets    {_pairs(summary['offsets'])}")
    click.echo(f"  origins    {_pairs(summary['origins'])}")
    click.echo(
        f"  shortened  {summary['shortened_clips']} clips reach less far: a sequence ends, or another clip begins"
    )
    click.echo(f"  settings   {_pairs(summary['settings'])}")
    click.echo(f"  versions   {_pairs(summary['versions'])}")
    click.echo(f"  content    {summary['content']}")
    click.echo("  classes")
    for name, count in sorted(summary["classes"].items(), key=lambda item: -item[1]):
        click.echo(f"    {name:<22} {count / pixels:8.3%}")
    click.echo(f"  failures   {len(summary['failures'])}")
    for failure in summary["failures"]:
        click.echo(f"    {failed_place(failure['clip'], failure['offset'])}: {failure['reason']}")


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items() if value is not None) or "none"
