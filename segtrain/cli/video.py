"""The commands `segtrain video …`."""

import click

from segtrain.cli.video_calibrate import video_calibrate
from segtrain.cli.video_evaluate import video_evaluate
from segtrain.cli.video_fit import video_fit
from segtrain.cli.video_predict import video_predict


@click.group()
def video() -> None:
    """Segment video by schemes that see its frames in order, and spend less on most of them.

    \b
    segtrain video predict run/best.safetensors drive.mp4 --scheme warp-features --interval 12 --out drive
    segtrain video evaluate run/best.safetensors --root street --scheme copy --scheme warp-features
    segtrain video fit --recipe twnet-tiny --base run/best.safetensors --root street --out twnet
    segtrain video calibrate run/best.safetensors drive.mp4 --share 0.5
    """


for command in (video_predict, video_evaluate, video_calibrate, video_fit):
    video.add_command(command)
