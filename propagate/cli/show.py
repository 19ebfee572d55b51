"""The command `propagate show`."""

from dataclasses import MISSING, dataclass
from pathlib import Path

import click

from jobs.console.options import command, configured
from jobs.console.settings import setting, setting_of
from propagate.cli.report import ReportConfig


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Which clip is shown, and how."""

    store: Path = setting_of(ReportConfig, "store")
    key: str | None = setting(None, "The clip, by the key of its annotated frame.", otherwise="the first of the store")
    out: Path = setting(MISSING, "What is written: NAME.mp4, a video, or NAME.png, a strip of pictures.")


@command()
@configured(config=ShowConfig)
def show(config: ShowConfig) -> None:
    """Draw one clip of STORE in order of time, labels over frames, the annotated frame marked.

    A strip has a column for each sample: the frame, its labels, their confidence (white: sure).

    \b
    propagate show shards --out clip.mp4
    propagate show shards --key aachen_000000_000019 --out strip.png
    """
    from propagate.review.show import show_clip
    from propagate.shards.reader import open_store

    number = show_clip(open_store(config.store), config.out, config.key)
    click.echo(f"{config.out}: {number} samples")
