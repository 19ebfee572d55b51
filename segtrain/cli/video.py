"""The commands `segtrain video …`."""

import click

from segtrain.cli.video_predict import predict


@click.group()
def video() -> None:
    """Segment video by schemes that see its frames in order, and spend less on most of them.

    \b
    segtrain video predict run/best.safetensors drive.mp4 --scheme warp-features --interval 12 --out drive
    """


for command in (predict,):
    video.add_command(command)
