"""The command `segtrain video evaluate`."""

import re
from dataclasses import dataclass
from pathlib import Path

import click

from jobs.console.options import command, config_file, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting
from jobs.console.values import print_json
from propagate.cli.places import layout_of
from segtrain.cli.network import NetworkConfig, say_left_out
from segtrain.cli.video_network import VideoNetworkConfig
from segtrain.evaluation.band import Band
from segtrain.video.registry import NAMES, SchemeOptions, SchemeSettings, settings_of_each

PER_FRAME = "per-frame"


@dataclass(frozen=True, kw_only=True)
class VideoEvaluateConfig(NetworkConfig, VideoNetworkConfig):
    """Which network is scored on which clips, and by which schemes."""

    options: SchemeOptions
    schemes: tuple[str, ...] = setting(
        ("warp-features",),
        f"A scheme, beside {PER_FRAME}: {NAMES}; repeatable.",
        option="scheme",
        repeatable=True,
    )
    distances: str | None = setting(
        None,
        "Score frames so many frames after one computed in full: FIRST-LAST, or a list.",
        otherwise="those at which the scheme meets frames",
    )
    band: Band
    limit: int | None = setting(None, "Only so many clips.", least=1, otherwise="all")
    out: Path | None = setting(None, "A folder for video.json and a page, index.html.")

    def __post_init__(self) -> None:
        self.scored_distances()
        self.require_use([scheme.name for scheme in self.settings()])

    def scored_distances(self) -> tuple[int, ...] | None:
        """Raises: ValueError."""
        if self.distances is None:
            return None
        parts = [re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip()) for part in self.distances.split(",")]
        found = [
            distance
            for part in parts
            if part is not None
            for distance in range(int(part[1]), int(part[2] or part[1]) + 1)
        ]
        is_empty = any(part is not None and int(part[2] or part[1]) < int(part[1]) for part in parts)
        if not all(parts) or is_empty or len(set(found)) < len(found):
            raise ValueError(
                f"--distances {self.distances}: expected FIRST-LAST, as 0-11, or a list, as 0,4,8, each once"
            )
        return tuple(found)

    def settings(self) -> list[SchemeSettings]:
        """Every frame by itself first, to compare with. Raises: ValueError."""
        return settings_of_each(tuple(dict.fromkeys((PER_FRAME, *self.schemes))), self.options)


@command("evaluate")
@configured(config=VideoEvaluateConfig)
@config_file
@json_option
def video_evaluate(config: VideoEvaluateConfig, as_json: bool) -> None:
    """Score schemes on the annotated frames of a data set's videos.

    Each is scored at every distance from the last frame that was computed in full, in all clips alike, and as if every
    distance were as likely. TC is the mIoU of labels that are carried along the motion from the frame before against
    those that are found: how consistent they are in time. That motion is DIS's, whichever the schemes use. The trimap
    mIoU is that of pixels near boundaries.

    \b
    segtrain video evaluate run/best.safetensors --root street --scheme copy --scheme warp-features --interval 12
    segtrain video evaluate run/best.safetensors --root street --scheme warp-scores --motion dis --out schemes
    """
    from jobs.training.runtime import open_runtime
    from propagate.datasets.registry import open_dataset
    from segtrain.evaluation.clips import labels_in_succession
    from segtrain.trained import open_trained
    from segtrain.video.clips import clips_with
    from segtrain.video.evaluate import distances_of, evaluate_video
    from segtrain.video.page import write_report

    dataset = open_dataset(layout_of(config.data, config.dataset), config.data)
    classes = config.class_table() or dataset.classes
    runtime = open_runtime(config.device, config.dtype)
    trained = open_trained(config.weights, runtime, architecture=config.architecture, classes=classes)
    schemes = config.settings()
    farthest = max(distances_of(trained.network, schemes, config.scored_distances()))
    clips = clips_with(dataset, farthest, str(config.data.root))[: config.limit]
    with Progress("clips", len(clips)) as progress:
        report = evaluate_video(
            trained.network,
            trained.classes,
            clips,
            schemes,
            config.open_motion(),
            runtime,
            distances=config.scored_distances(),
            with_vectors=config.motion_settings().reads_vectors,
            labels=labels_in_succession(dataset, clips),
            band=config.band,
            tiling=config.tiling,
            on_progress=progress.advance,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(report.markdown())
    if config.out is not None:
        write_report(report, config.out)
    if report.failures:
        say_left_out(report.failures)
        raise SystemExit(1)
