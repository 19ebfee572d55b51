"""The command `propagate evaluate`."""

from dataclasses import MISSING, dataclass
from pathlib import Path

import click

from jobs.console.options import command, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting
from jobs.console.values import print_json
from propagate.datasets.registry import DatasetChoice, open_dataset


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(DatasetChoice):
    """Which store is scored, by which truth."""

    out: Path = setting(MISSING, "The shard store.", argument="OUT")
    truth: Path | None = setting(
        None,
        "A folder; a frame's label map is KEY.png or KEY_gtFine_labelIds.png anywhere in it.",
        otherwise="ROOT's own",
    )


@command()
@configured(config=EvaluateConfig)
@json_option
def evaluate(config: EvaluateConfig, as_json: bool) -> None:
    """Score propagated labels against those that the neighbours really have.

    mIoU counts ignored pixels as misses, covered mIoU leaves them out; coverage is the share of pixels that have a
    class; trimap mIoU scores the band of 3 pixels along class boundaries. The table is in percent.

    \b
    propagate evaluate shards --root street --truth street/truth
    """
    from propagate.scoring.evaluate import evaluate_store
    from propagate.scoring.truth import truth_directory
    from propagate.shards.reader import open_store

    store = open_store(config.out)
    if config.truth is not None:
        labels_of = truth_directory(config.truth)
    else:
        labels_of = open_dataset(config.dataset, config.options).labels
    with Progress("samples", store.manifest.num_samples) as progress:
        report = evaluate_store(store, labels_of, on_progress=progress.advance)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.table())
    if report.failures:
        raise SystemExit(1)
