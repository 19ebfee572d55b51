"""The command `segtrain evaluate`."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.console.options import command, config_file, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting
from jobs.console.values import print_json
from propagate.cli.places import layout_of
from segtrain.cli.network import NetworkConfig, say_left_out
from segtrain.evaluation.band import Band
from segtrain.evaluation.part import WHOLE, Part
from segtrain.evaluation.temporal_settings import TemporalSettings
from segtrain.inference_settings import Inference

if TYPE_CHECKING:
    from jobs.training.runtime import Runtime
    from segtrain.data.dataset import SegmentationDataset
    from segtrain.evaluation.report import SegmentationReport
    from segtrain.evaluation.temporal_measure import TemporalMeasure
    from segtrain.trained import TrainedNetwork


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(NetworkConfig):
    """Which network is scored on which data set."""

    inference: Inference
    band: Band
    temporal: TemporalSettings
    out: Path | None = setting(None, "Write the tables to this file too, as Markdown.")
    counts: Path | None = setting(
        None, "Keep in this folder what is counted: the same command continues, and parts are put together."
    )
    part: str | None = setting(None, "Segment only one of several parts, as 1/8.", otherwise="all images")

    def __post_init__(self) -> None:
        if self.chosen_part != WHOLE and self.counts is None:
            raise ValueError("--part is put together with the others in a folder; give --counts DIR, the same for all")
        if self.counts is not None and self.temporal.is_measured:
            raise ValueError("--counts keeps what is counted of single images; leave out --temporal, or run it apart")
        if self.out is not None and not self.out.absolute().parent.is_dir():
            raise ValueError(f"--out {self.out}: there is no folder {self.out.parent}")

    @cached_property
    def chosen_part(self) -> Part:
        return WHOLE if self.part is None else Part.parse(self.part)


@command()
@configured(config=EvaluateConfig)
@config_file
@json_option
def evaluate(config: EvaluateConfig, as_json: bool) -> None:
    """Score a network on the annotated images of a data set.

    WEIGHTS is a file of `segtrain fit`, or a published one. Scores are of all images together: mIoU, accuracy, the mean
    of the classes' accuracies, IoU weighted by how often classes occur, IoU near boundaries (trimap); and iIoU, where
    maps of instances lie beside all label maps of Cityscapes.

    With --counts, what is counted of an image is kept: the same command continues, and with --part several processes or
    machines share the images. Scores follow once all images are counted; then the command without --part only adds up.

    With --temporal, the frames around the annotated ones are segmented too: TC is the mIoU of labels that are carried
    along the motion to the next frame, against those that are found there.

    \b
    segtrain evaluate run/best.safetensors --root street --split val
    segtrain evaluate cityscapes_best.pth --architecture deepwv3plus --root cityscapes \\
        --split cv2-val --window 1024x1024 --scales 0.5,1,2 --flip --out scores.md
    segtrain evaluate run/best.safetensors --root street --split val --temporal --before 10
    segtrain evaluate run/best.safetensors --root street --split val --counts counts --part 1/8
    """
    from jobs.training.runtime import open_runtime
    from propagate.datasets.registry import open_dataset
    from segtrain.data.labelled_frames import open_labelled_frames
    from segtrain.evaluation.counts import CountsFolder
    from segtrain.evaluation.evaluate import evaluate as evaluate_network
    from segtrain.evaluation.folds import require_same_fold
    from segtrain.evaluation.inputs import inputs_by_key
    from segtrain.evaluation.instances import find_instance_maps
    from segtrain.evaluation.report import write_markdown
    from segtrain.trained import open_trained

    options, dataset = config.data, layout_of(config.data, config.dataset)
    samples = open_labelled_frames(dataset, options, classes=config.class_table())
    runtime = open_runtime(config.device, config.dtype)
    trained = open_trained(config.weights, runtime, architecture=config.architecture, classes=samples.classes)
    require_same_fold(trained.about, dataset, options, samples)
    temporal = _open_temporal(config, dataset, trained, runtime) if config.temporal.is_measured else None
    instance_maps = find_instance_maps(dataset, options, [record.key for record in samples.records])
    kept = None
    if config.counts is not None:
        described = _described(config, samples, has_instances=instance_maps is not None)
        labels = open_dataset(dataset, options).labels([record.key for record in samples.records])
        inputs = inputs_by_key(samples, labels, instance_maps)
        kept = CountsFolder.begun(config.counts, described, len(samples.classes.train_names), inputs=inputs)
    part = config.chosen_part
    with Progress("images", len(part.numbers(len(samples.records)))) as progress:
        report = evaluate_network(
            trained.network,
            samples,
            config.inference,
            runtime,
            band=config.band,
            instance_maps=instance_maps,
            part=part,
            kept=kept,
            on_found=None if temporal is None else temporal.add,
            on_progress=progress.advance,
        )
    if report.missing:
        _say_unfinished(report, config, as_json=as_json)
        return
    consistency = None if temporal is None else temporal.report()
    text = "\n\n".join(part.markdown() for part in (report, consistency) if part is not None)
    if as_json:
        print_json(report.to_dict() | ({} if consistency is None else {"temporal": consistency.to_dict()}))
    else:
        click.echo(text)
    if config.out is not None:
        write_markdown(text, config.out)
    if report.failures:
        say_left_out(report.failures)
    if consistency is not None and consistency.failures:
        say_left_out(consistency.failures, "clips")
    if report.failures or (consistency is not None and consistency.failures):
        raise SystemExit(1)


def _described(config: EvaluateConfig, samples: "SegmentationDataset", *, has_instances: bool) -> dict[str, Any]:
    """What decides what is counted, as JSON values; which files, their counts say."""
    from jobs.training.weights import digest
    from segtrain.data.identity import identity

    return {
        "weights": digest(config.weights),
        "images": dict(identity(samples)),
        "inference": asdict(config.inference),
        "band": asdict(config.band),
        "dtype": config.dtype,
        "instances": has_instances,
    }


def _say_unfinished(report: "SegmentationReport", config: EvaluateConfig, *, as_json: bool) -> None:
    """Say how far all parts are together; images that this one had to leave out make it fail."""
    if as_json:
        failures = [asdict(failure) for failure in report.failures]
        print_json({"images": report.images, "missing": report.missing, "failures": failures})
    else:
        total = report.images + report.missing + len(report.failures)
        click.echo(
            f"{config.counts}: {report.images} of {total} images counted; scores follow once "
            "the other parts are done, or by the same command without --part, which leaves out what cannot be read"
        )
    if report.failures:
        say_left_out(report.failures)
        raise SystemExit(1)


def _open_temporal(
    config: EvaluateConfig, dataset: str, trained: "TrainedNetwork", runtime: "Runtime"
) -> "TemporalMeasure":
    from propagate.datasets.registry import open_dataset
    from sdcnet.motion.registry import open_estimator
    from segtrain.evaluation.clips import clips_around, labels_in_succession, published_clips
    from segtrain.evaluation.temporal_measure import TemporalMeasure

    settings, where = config.temporal, str(config.data.root)
    layout = open_dataset(dataset, config.data)
    clips = clips_around(layout, settings.num_before, settings.num_after, where)
    if settings.as_published:
        clips = published_clips(clips, where)
    return TemporalMeasure(
        trained.network,
        trained.classes,
        clips,
        labels_in_succession(layout, clips),
        open_estimator(settings.pairs.motion_settings(device=config.device, dtype=config.dtype)),
        settings,
        config.inference,
        runtime,
    )
