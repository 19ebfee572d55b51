"""The command `propagate evaluate`."""

from dataclasses import MISSING, dataclass
from pathlib import Path

import click

from jobs.console.options import command, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting, setting_of
from jobs.console.values import print_json
from propagate.cli.places import layout_of
from propagate.datasets.base import Dataset, DatasetOptions
from propagate.datasets.registry import DatasetChoice, open_dataset
from propagate.errors import DatasetError
from propagate.shards.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which store is scored, by which truth."""

    out: Path = setting(MISSING, "The shard store.", argument="OUT")
    root: Path | None = setting_of(
        DatasetOptions, "root", default=None, otherwise="PROPAGATE_ROOT, or without --truth where you stand"
    )
    dataset: str | None = setting_of(
        DatasetChoice, "dataset", default=None, otherwise="the store's, or what the root holds"
    )
    split: str | None = setting_of(DatasetOptions, "split", default=None, otherwise="the store's")
    layout: Path | None = setting_of(DatasetOptions, "layout")
    max_gap: int | None = setting_of(DatasetOptions, "max_gap")
    truth: Path | None = setting(
        None,
        "A folder; a frame's label map is KEY.png or KEY_gtFine_labelIds.png anywhere in it.",
        otherwise="ROOT's own",
    )

    def __post_init__(self) -> None:
        if self.truth is not None and self.root is None and (self.dataset or self.split or self.layout or self.max_gap):
            raise ValueError("--dataset, --split, --layout and --max-gap say how --root is read; give it, or none")


@command()
@configured(config=EvaluateConfig)
@json_option
def evaluate(config: EvaluateConfig, as_json: bool) -> None:
    """Score propagated labels against those that the neighbours really have.

    mIoU counts ignored pixels as misses, covered mIoU leaves them out; coverage is the share of pixels that have a
    class; trimap mIoU scores the band of 3 pixels along class boundaries. The table is in percent.

    With --truth, a data set that is given too must be the store's, and be there.

    \b
    propagate evaluate shards --root street --truth street/truth
    """
    from propagate.scoring.evaluate import evaluate_store
    from propagate.scoring.truth import truth_directory
    from propagate.shards.reader import open_store

    store = open_store(config.out)
    dataset = None
    if config.root is not None or config.truth is None:
        dataset = _open_dataset(config, config.root or Path(), store.manifest)
    if config.truth is not None:
        _require_same(config, store.manifest)
        labels_of = truth_directory(config.truth)
    else:
        assert dataset is not None
        labels_of = dataset.labels
    with Progress("samples", store.manifest.num_samples) as progress:
        report = evaluate_store(store, labels_of, on_progress=progress.advance)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.table())
    if report.failures:
        raise SystemExit(1)


def _open_dataset(config: EvaluateConfig, root: Path, manifest: Manifest) -> Dataset:
    options = DatasetOptions(
        root=root, split=config.split or manifest.split, layout=config.layout, max_gap=config.max_gap
    )
    return open_dataset(layout_of(options, config.dataset, likely=manifest.dataset, instead="--truth"), options)


def _require_same(config: EvaluateConfig, manifest: Manifest) -> None:
    """Raise DatasetError where another data set or split is named than the store's, which --truth is scored by."""
    for name, given, of_store in (
        ("dataset", config.dataset, manifest.dataset),
        ("split", config.split, manifest.split),
    ):
        if given not in (None, of_store):
            raise DatasetError(
                f"{config.out}: its {name} is '{of_store}', asked for was '{given}'; leave out --{name}, or name "
                "another store"
            )
