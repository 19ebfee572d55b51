"""An evaluation of schemes as one HTML page, which needs nothing but itself, and as JSON beside it."""

import json
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

from jobs.files import write_whole
from jobs.pages.plot import Plot
from jobs.pages.templates import render
from propagate.data.classes import ClassTable
from sdcnet.frames.writing import film
from segtrain.errors import InferenceError
from segtrain.evaluation.temporal_measure import told_motion
from segtrain.prediction.views import overlaid
from segtrain.video.report import VideoReport

PAGE, RECORD = "index.html", "video.json"
FILM_WIDTH = 480  # pixels at most, of the videos on the page
FILM_RATE = 8  # frames a second: slow enough to see what jumps


def write_report(report: VideoReport, out: Path) -> Path:
    """Write OUT/video.json and OUT/index.html, anew where they are there. Returns the page.

    Raises: InferenceError where they cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / RECORD, (json.dumps(report.to_dict(), indent=1) + "\n").encode())
        write_whole(out / PAGE, page_of(report).encode())
    except OSError as error:
        raise InferenceError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    return out / PAGE


def page_of(report: VideoReport) -> str:
    """The page, as HTML."""
    scores, costs, consistency, by_distance, classes = report.tables()
    return render(
        "segtrain.video",
        "schemes.html.j2",
        report=report,
        plots=[
            Plot(
                name="mIoU against milliseconds",
                series={score.title: [(score.costs["milliseconds"], score.scores["miou"])] for score in report.schemes},
                x_name="ms a frame",
                percent=True,
                lines=False,
            ),
            Plot(
                name="mIoU by distance",
                series={score.title: list(score.by_distance.items()) for score in report.schemes},
                x_name="frames since one computed in full",
                percent=True,
            ),
        ],
        films=[(score.title, _film(report.frames, score.shown, report.classes)) for score in report.schemes],
        temporal_motion=told_motion(report.temporal_motion),
        tables=[
            ("Scores", scores),
            ("Costs", costs),
            ("Temporal consistency", consistency),
            ("mIoU by distance", by_distance),
            ("IoU by class", classes),
        ],
    )


def _film(frames: Sequence[np.ndarray], labels: Sequence[np.ndarray], classes: ClassTable) -> str:
    """What was found, over the frames, as a video in a data URI."""
    file = BytesIO()
    with film(file, FILM_RATE) as add:
        for frame, found in zip(frames, labels, strict=True):
            picture = overlaid(frame, found, classes)
            scale = min(1.0, FILM_WIDTH / picture.shape[1])
            add(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return f"data:video/mp4;base64,{b64encode(file.getvalue()).decode()}"
