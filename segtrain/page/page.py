"""The summary of a training as one HTML page, which needs nothing but itself: no script, no network."""

import math
import shlex
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from jobs.console.tables import Table
from jobs.console.values import counted, percent
from jobs.pages.chart import MOST_POINTS, Chart
from jobs.pages.templates import render
from jobs.training.run_folder import replace
from segtrain.config import BEST, LAST, default_settings
from segtrain.errors import RunError
from segtrain.page.record import WATCHED, RunRecord, Validation, read_run

PAGE = "index.html"
_WATCHED = {
    "watch/entropy": "Entropy of predictions, nats",
    "watch/logit_norm": "Length of logits",
    "watch/classes": "Classes predicted in a batch",
    "watch/teacher_variance": "Variance of the teacher's embedding",
}
_SIZES = ("crop", "val_window")  # settings of height and width
_OF_DATA = ("training", "validation", "validation_groups")  # recorded beside the settings


def write_page(run: Path) -> Path:
    """Write RUN/index.html, anew where it is there, from what the training has left in its folder so far.

    Raises: RunError: no run of `segtrain fit`, a damaged file; RunFolderError, where the page cannot be written.
    """
    page = page_of(read_run(run))
    replace(run / PAGE, page.encode())
    return run / PAGE


def page_of(record: RunRecord) -> str:
    """The page of a training, as HTML. Raises: RunError for a picture that cannot be read."""
    name = record.run.resolve().name
    charts, compared = list(_charts(record)), _compared(record)
    return render(
        "segtrain.page",
        "run.html.j2",
        record=record,
        name=name,
        title=f"{record.settings['network']} on {record.settings['training']['classes']}",
        facts=list(_facts(record)),
        charts=charts,
        notes=list(_notes(record, charts)),
        compared=compared,
        classes=_classes([validation for _, validation in compared]),
        colours=record.pictures.colours if record.pictures else {},
        embedded=_embedded,
        is_unfinished=record.steps_done < (record.num_steps or math.inf),
        commands=list(_commands(record, name)),
        report_command=shlex.join(["segtrain", "report", name]),
        changed=_changed(record),
        settings=Table(("Setting", "Value"), [(name, _told(value, name)) for name, value in _settings(record).items()]),
        about=_about(record),
    )


def _facts(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    """What stands out: its name, its value, and what that is of."""
    if best := record.best:
        yield "Best mIoU", _percent(best.miou), f"after step {best.step}"
    if last := record.last:
        yield "Last mIoU", _percent(last.miou), f"after step {last.step}"
        yield "Accuracy", _percent(last.accuracy), "of pixels, last"
        if last.tc is not None:
            yield "Last TC", _percent(last.tc), "temporal consistency"
    yield "Steps", f"{record.steps_done}", f"of {record.num_steps}" if record.num_steps else "just begun"
    if losses := record.curves["loss"]:
        yield "Loss", f"{losses[-1][1]:.3g}", f"after step {losses[-1][0]}"
    if rates := [rate for _, rate in record.curves["samples_per_second"]]:
        yield "Samples/s", f"{median(rates):.3g}", "median"


def _charts(record: RunRecord) -> Iterator[Chart]:
    """Those that have points."""
    best, miou = record.best, [(each.step, each.miou) for each in record.validations]
    tc = [(each.step, each.tc) for each in record.validations if each.tc is not None]
    common: dict[str, Any] = {"num_steps": record.num_steps or 0, "resumed": _resumed(record)}
    for chart in (
        Chart(name="mIoU", points=miou, percent=True, mark=best.step if best else None, **common),
        Chart(name="Temporal consistency", points=tc, percent=True, **common),
        Chart(name="Loss", points=record.curves["loss"], **common),
        Chart(name="Learning rate", points=record.curves["learning_rate"], from_zero=True, **common),
        Chart(name="Samples per second", points=record.curves["samples_per_second"], from_zero=True, **common),
        *(Chart(name=_WATCHED[name], points=record.curves[name], from_zero=True, **common) for name in WATCHED),
    ):
        if chart.points:
            yield chart


def _notes(record: RunRecord, charts: Sequence[Chart]) -> Iterator[str]:
    """What the charts need to be understood: sentences."""
    if any(len(chart.points) > MOST_POINTS for chart in charts):
        yield "Lines of many points are means, on a band from the least to the greatest of what they stand for."
    if record.best:
        yield "The ring marks the best mIoU."
    if any(record.curves[name] for name in WATCHED):
        yield (
            "While terms of consistency count: predictions that agree since they say nothing have a high entropy, "
            "short logits or few classes; an encoder of sequences that has collapsed gives the teacher no variance."
        )
    if resumed := _resumed(record):
        yield f"Dashed lines: resumed after {', '.join(f'step {step}' for step in resumed)}."


def _resumed(record: RunRecord) -> list[int]:
    return sorted({each.step for each in record.beginnings if 0 < each.step < record.steps_done})


def _compared(record: RunRecord) -> list[tuple[str, Validation]]:
    """The last validation, and the best where that is another."""
    last, best = record.last, record.best
    if last is None:
        return []
    return [("last", last), *([("best", best)] if best and best.step != last.step else [])]


def _classes(validations: Sequence[Validation]) -> dict[str, list[float]]:
    """IoU of each validation, or NaN, by class name: the highest of the first one first."""
    names = {name for each in validations for name in each.iou}
    order = sorted(names, key=lambda name: (-validations[0].iou.get(name, -1.0), name))
    return {name: [each.iou.get(name, math.nan) for each in validations] for name in order}


def _embedded(path: Path) -> str:
    """A PNG file as a data URI. Raises: RunError."""
    try:
        return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); remove {path.parent} to do without pictures"
        raise RunError(f"{path}: {reason}") from None


def _commands(record: RunRecord, name: str) -> Iterator[str]:
    """What to do with the network of a run of that name, where there is one."""
    network = next((file for file in (BEST, LAST) if (record.run / file).is_file()), None)
    if network is None:
        return
    weights, settings = f"{name}/{network}", record.settings
    places = record.beginnings[-1].places if record.beginnings else {}
    data = ["--dataset", settings["dataset"]] if "root" in places else []  # otherwise there was none
    data += ["--root", str(places.get("root", "DATA"))]
    for name in ("layout", "classes"):
        if name in places:
            data += [f"--{name}", str(places[name])]
    is_usual = not settings["validation"] or settings["val_split"] == "val"
    split = [] if is_usual else ["--split", settings["val_split"]]
    yield shlex.join(["segtrain", "evaluate", weights, *data, *split])
    yield shlex.join(["segtrain", "predict", weights, "drive.mp4", "--out", "drive"])


def _settings(record: RunRecord) -> dict[str, Any]:
    return {name: value for name, value in record.settings.items() if name not in _OF_DATA}


def _changed(record: RunRecord) -> Table:
    """The settings that differ from the defaults."""
    defaults = default_settings()
    here = {name: value for name, value in _settings(record).items() if value != defaults.get(name)}
    rows = [(name, _told(value, name), _told(defaults.get(name), name)) for name, value in here.items()]
    return Table(("Setting", "Here", "Default"), rows)


def _about(record: RunRecord) -> Table:
    """Data, machines and versions."""
    data = [
        (name, f"{counted(each['samples'], 'sample')}, classes of {each['classes']}, SHA-256 {each['sha256']}")
        for name in ("training", "validation")
        if (each := record.settings[name])
    ]
    machines = [(f"from step {each.step}", f"{each.device}, workers: {each.workers}") for each in record.beginnings]
    return Table(("What", "Value"), [*data, *machines, *record.versions.items()])


def _told(value: Any, name: str = "") -> str:
    """A setting as people write it."""
    if value in (None, [], {}, ""):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ("×" if name in _SIZES else ", ").join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def _percent(fraction: float) -> str:
    return f"{percent(fraction, 2, none='–')} %"
