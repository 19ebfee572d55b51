"""The command `segtrain pseudo`."""

from dataclasses import MISSING, asdict, dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console.exit_codes import interrupted
from jobs.console.options import command, config_file, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import require_settings, setting, setting_of
from jobs.console.tables import Table
from jobs.console.values import percent, print_json
from propagate.carry.sample_settings import SampleSettings
from propagate.cli.places import is_typed, layout_of, refuse_beside_source
from propagate.cli.run import print_summary
from propagate.datasets.base import TRAIN, DatasetOptions
from propagate.job.config import Continuation, RunConfig, require_engine
from segtrain.cli.network import NetworkConfig
from segtrain.data.motion_settings import PairMotionSettings
from segtrain.pseudo.settings import PseudoSettings, TeacherInference

if TYPE_CHECKING:
    from segtrain.pseudo.run import PseudoSummary, Unlabelled


@dataclass(frozen=True, kw_only=True)
class PseudoConfig(NetworkConfig):
    """Which network labels which frames, and which of its labels are kept: what a store will hold."""

    inference: TeacherInference
    settings: PseudoSettings
    along: PairMotionSettings
    sources: tuple[Path, ...] = setting((), "Videos, or folders of frames or videos.", argument="[SOURCE]...")
    root: Path = setting_of(
        DatasetOptions,
        "root",
        help="Where a data set lies, of which the frames around annotated ones are taken where there is no SOURCE.",
    )
    split: str = setting_of(DatasetOptions, "split", default=TRAIN)
    max_gap: int | None = setting_of(DatasetOptions, "max_gap")
    out: Path = setting(MISSING, "The shard store: a new folder, or one to go on with.")
    frames: int = setting(10, "Of a data set: frames on each side of an annotated one.", least=1)
    beyond: int = setting(0, "Of a data set: none of those up to so many frames away.", least=0)
    every: int = setting(1, "Of SOURCE: every N-th frame.", least=1)
    images: str = setting_of(SampleSettings, "images")
    clips_per_shard: int | None = setting_of(RunConfig, "clips_per_shard")
    limit: int | None = setting_of(RunConfig, "limit", help="Only the first N clips; of SOURCE, of 30 frames each.")
    engine: str = setting_of(RunConfig, "engine")
    num_workers: int | None = setting_of(RunConfig, "num_workers")
    address: str | None = setting_of(RunConfig, "address")

    def __post_init__(self) -> None:
        require_settings(self)
        require_engine(self.engine, self.num_workers, self.address)
        if not self.settings.temporal_filter and self.along != PairMotionSettings():
            raise ValueError("--motion is of the temporal filter; leave it out, or --no-temporal-filter")
        if self.beyond >= self.frames:
            raise ValueError(f"--beyond {self.beyond} leaves nothing of --frames {self.frames}; choose a smaller one")

    @property
    def data(self) -> DatasetOptions:
        """Where the data set lies, and how it is read."""
        return DatasetOptions(root=self.root, split=self.split, layout=self.layout, max_gap=self.max_gap)


@command()
@configured(config=PseudoConfig, continuation=Continuation)
@config_file
@json_option
def pseudo(config: PseudoConfig, continuation: Continuation, as_json: bool) -> None:
    """Label frames by a network, and write them as verified shards to train others on.

    Frames are those around the annotated frames of a data set, or those of videos and folders without annotations.
    Labels are kept where the network is as sure as the threshold of their class, and the frames before and after agree.
    Run it again to continue an interrupted run: finished shards, and thresholds, are kept.

    \b
    segtrain pseudo run/best.safetensors --root cityscapes --frames 10 --beyond 5 --out pseudo
    segtrain pseudo run/best.safetensors drive.mp4 --every 5 --out pseudo
    """
    from propagate.job.places import teller
    from segtrain.pseudo.labelling import Teacher
    from segtrain.pseudo.run import write_pseudo_labels

    frames = _frames(config)

    def tell_of_calibration(num_frames: int) -> None:
        progress.say(f"finding the thresholds of classes on {num_frames} frames first")
        progress.expect(num_frames)

    with Progress("frames") as progress, interrupted("Interrupted; what is finished is kept."):
        summary = write_pseudo_labels(
            config.out,
            frames,
            Teacher(
                weights=config.weights,
                inference=config.inference,
                architecture=config.architecture,
                device=config.device,
                dtype=config.dtype,
            ),
            config.settings,
            classes=config.class_table(),
            motion=config.along.motion_settings(device=config.device, dtype=config.dtype),
            images=config.images,
            clips_per_shard=config.clips_per_shard,
            engine=config.engine,
            num_workers=config.num_workers,
            address=config.address,
            retry_failed=continuation.retry_failed,
            overwrite=continuation.overwrite,
            on_calibrate=tell_of_calibration,
            on_plan=progress.expect,
            on_started=teller(progress.say, is_network=True),
            on_progress=progress.advance,
        )
    run = summary.run
    if as_json:
        print_json(asdict(summary))
    else:
        print_summary(run, config.out)
        _print_labels(summary)
    if run.failures or run.lost:
        raise SystemExit(1)


def _frames(config: PseudoConfig) -> "Unlabelled":
    from segtrain.pseudo.run import frames_around, frames_of_files

    if not config.sources:
        if config.every != 1:
            raise click.UsageError("--every is of SOURCE; of a data set, --frames and --beyond say which frames")
        dataset = layout_of(config.data, config.dataset, instead="SOURCE")
        return frames_around(dataset, config.data, frames=config.frames, beyond=config.beyond, limit=config.limit)
    refuse_beside_source("root", "dataset", "layout", "max_gap")
    if is_typed("frames") or is_typed("beyond"):
        raise click.UsageError("--frames and --beyond are of a data set; of SOURCE, --every says which frames")
    return frames_of_files(config.sources, split=config.split, every=config.every, limit=config.limit)


def _print_labels(summary: "PseudoSummary") -> None:
    if summary.run.written:
        rows = [
            [name, f"{each.threshold:.3f}", *(_share(part, each.found) for part in (each.sure, each.kept))]
            for name, each in summary.classes.items()
            if each.found
        ]
        click.echo(Table(["class", "threshold", "sure %", "kept %"], rows).text())
    of = "" if summary.calibrated_on is None else f", thresholds from {summary.calibrated_on} frames"
    click.echo(f"teacher {summary.teacher[:12]}{of}; {percent(summary.kept, 1)} % of the store's pixels have a label")


def _share(part: int, whole: int) -> str:
    return percent(part / whole if whole else nan, 1)
