"""The command `sdcnet evaluate`."""

from dataclasses import MISSING, dataclass
from pathlib import Path

import click

from jobs.console.options import command, config_file, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import setting
from jobs.console.values import print_json
from sdcnet.motion.registry import MotionSettings, open_estimator


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which estimator is scored, and on what."""

    sources: tuple[Path, ...] = setting(MISSING, "Folders of images, or videos.", argument="SOURCE...")
    motion: MotionSettings
    limit: int | None = setting(None, "Only the first N frames of each source.", least=1, otherwise="all")


@command()
@configured(config=EvaluateConfig)
@config_file
@json_option
def evaluate(config: EvaluateConfig, as_json: bool) -> None:
    """Score a motion estimator on the frames of folders and videos.

    Each frame is predicted by warping the one before it: PSNR (at most 60 dB a frame), SSIM and the mean absolute error
    (L1, in levels of 255), as means over frames; of all pixels, then of the share that comes from inside the frame
    before (in).

    Where a folder holds true flow (of `propagate synth`, KITTI or FlyingChairs), also the end-point error (EPE) and the
    share of outliers (Fl), which err by more than 3 px and 5 %, over all pixels; and over those that are not occluded
    (noc), where the truth says which. The flow of KITTI and FlyingChairs leads to the next frame: there, the first of
    two frames is predicted from the second.

    \b
    sdcnet evaluate drive.mp4 frames/ --motion dis
    sdcnet evaluate street --motion sdcnet --sdcnet-weights recon.safetensors --input-flow dis --json
    """
    import torch

    from sdcnet.evaluate import evaluate as evaluate_sources

    estimator = open_estimator(config.motion)
    if not config.motion.is_network:
        torch.set_num_threads(1)  # more gain nothing here, and lose far more where the cores are busy
    with Progress("frames") as progress:
        result = evaluate_sources(
            config.sources, estimator, limit=config.limit, on_plan=progress.expect, on_progress=progress.advance
        )
    if as_json:
        print_json(result.to_json())
    else:
        click.echo(result.table())
    for note in result.notes():
        click.echo(note, err=True)
    if result.failures:
        raise SystemExit(1)
