"""The summary of a training as one HTML page, which needs nothing but itself: no script, no network."""

import math
import shlex
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from jobs.training.run_folder import replace
from segtrain.config import BEST, LAST, default_settings
from segtrain.errors import RunError
from segtrain.page.chart import MOST_POINTS, Chart
from segtrain.page.record import Picture, Pictures, RunRecord, Validation, read_run
from segtrain.page.style import style_sheet

PAGE = "index.html"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # a browser holds the page to it


def write_page(run: Path) -> Path:
    """Write RUN/index.html, anew where it is there, from what the training has left in its folder so far.

    Raises RunError: no run of `segtrain fit`, a damaged file; RunFolderError, where the page cannot be written.
    """
    page = page_of(read_run(run))
    replace(run / PAGE, page.encode())
    return run / PAGE


def page_of(record: RunRecord) -> str:
    """The page of a training, as HTML."""
    title = f"{record.settings['network']} on {record.settings['training']['classes']}"
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(title)} – {escape(_name(record))}</title>",
        f"<style>\n{style_sheet()}</style>\n</head>\n<body>",
        _header(record, title),
        "<main>",
        _curves(record),
        _classes(record),
        _pictures(record.pictures) if record.pictures else "",
        _next(record),
        _settings(record),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _header(record: RunRecord, title: str) -> str:
    training, held_out = record.settings["training"], record.settings["validation"]
    data = f"{training['samples']} samples to train on"
    data += f", {held_out['samples']} images to validate on" if held_out else ", none to validate on"
    best, last, rates = record.best, record.last, [rate for _, rate in record.curves["samples_per_second"]]
    facts = []
    if best:
        facts.append(("Best mIoU", f"{_percent(best.miou)} %", f"after step {best.step}"))
    if last:
        facts.append(("Last mIoU", f"{_percent(last.miou)} %", f"after step {last.step}"))
        facts.append(("Accuracy", f"{_percent(last.accuracy)} %", "of pixels, last"))
    facts.append(("Steps", f"{record.steps_done}", f"of {record.num_steps}" if record.num_steps else "just begun"))
    if losses := record.curves["loss"]:
        facts.append(("Loss", f"{losses[-1][1]:.3g}", f"after step {losses[-1][0]}"))
    if rates:
        facts.append(("Samples/s", f"{median(rates):.3g}", "median"))
    shown = "\n".join(
        f'<div class="card"><dt>{name}</dt><dd>{value}<small>{about}</small></dd></div>' for name, value, about in facts
    )
    return (
        f'<header>\n<p class="quiet">The training in <code>{escape(_name(record))}</code></p>\n'
        f"<h1>{escape(title)}</h1>\n"
        f"<p>The network {escape(str(record.settings['network']))}; {data}.</p>\n"
        f'<dl class="facts">\n{shown}\n</dl>\n</header>'
    )


def _curves(record: RunRecord) -> str:
    resumed = sorted({each.step for each in record.beginnings if 0 < each.step < record.steps_done})
    best = record.best
    common: dict[str, Any] = {"num_steps": record.num_steps or 0, "resumed": resumed}
    miou = [(each.step, each.miou) for each in record.validations]
    charts = [
        Chart(name="mIoU", points=miou, percent=True, mark=best.step if best else None, **common),
        Chart(name="Loss", points=record.curves["loss"], **common),
        Chart(name="Learning rate", points=record.curves["learning_rate"], from_zero=True, **common),
        Chart(name="Samples per second", points=record.curves["samples_per_second"], from_zero=True, **common),
    ]
    drawn = [chart for chart in charts if chart.points]
    if not drawn:
        return "<section>\n<h2>Curves</h2>\n<p>The log has no losses yet.</p>\n</section>"
    notes = []
    if any(len(chart.points) > MOST_POINTS for chart in drawn):
        notes.append("Lines of many points are means, on a band from the least to the greatest of what they stand for.")
    if best:
        notes.append("The ring marks the best mIoU.")
    if resumed:
        notes.append(f"Dashed lines: resumed after {', '.join(f'step {step}' for step in resumed)}.")
    return (
        f'<section>\n<h2>Curves</h2>\n<div class="charts">\n{"".join(map(_chart, drawn))}</div>\n'
        f'<p class="quiet">{" ".join(notes)}</p>\n</section>'
    )


def _chart(chart: Chart) -> str:
    drawn = chart.svg() or '<p class="quiet">No finite value.</p>'
    return f'<figure class="card">\n<figcaption><h3>{chart.name}</h3></figcaption>\n{drawn}\n</figure>\n'


def _classes(record: RunRecord) -> str:
    """IoU by class, the highest of the last validation first."""
    last, best = record.last, record.best
    if last is None:
        return "<section>\n<h2>Classes</h2>\n<p>Not validated so far.</p>\n</section>"
    others = [best] if best and best.step != last.step else []
    names = {name for each in [last, *others] for name in each.iou}
    order = sorted(names, key=lambda name: (-last.iou.get(name, -1.0), name))
    colours = record.pictures.colours if record.pictures else {}
    heads = [f"last, step {last.step}", *(f"best, step {each.step}" for each in others)]
    told = "Bars are the last validation" + (
        ", upright marks that of the best mIoU." if others else ", which is also the best."
    )
    rows = "\n".join(_class_row(name, last, others, colours) for name in order)
    columns = "".join(f'<th scope="col" class="number">{head}</th>' for head in heads)
    return (
        '<section>\n<h2>Classes</h2>\n<div class="card">\n<table>\n'
        f"<caption>IoU in percent. {told} Without classes that neither occur nor were found.</caption>\n"
        f'<thead><tr><th scope="col">Class</th><td class="bars"></td>{columns}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>\n</section>"
    )


def _class_row(name: str, last: Validation, others: Sequence[Validation], colours: Mapping[str, str]) -> str:
    values = [each.iou.get(name, math.nan) for each in [last, *others]]
    bar = f'<span style="width:{100 * _drawn(values[0]):.1f}%"></span>'
    bar += "".join(f'<i style="left:{100 * _drawn(value):.1f}%"></i>' for value in values[1:])
    numbers = "".join(f'<td class="number">{_percent(value)}</td>' for value in values)
    return (
        f'<tr><th scope="row">{_swatch(colours.get(name))}{escape(name)}</th>'
        f'<td class="bars"><div class="bar">{bar}</div></td>{numbers}</tr>'
    )


def _pictures(pictures: Pictures) -> str:
    shown = "\n".join(map(_picture, pictures.images))
    legend = "\n".join(
        f"<li>{_swatch(colour)}{escape(name)}</li>" for name, colour in [*pictures.colours.items(), ("ignored", "#000")]
    )
    return (
        f"<section>\n<h2>Validated images</h2>\n<p>After step {pictures.step}. Where an image is wrong, it has the "
        f'colour of the class that was found.</p>\n<ul class="legend">\n{legend}\n</ul>\n{shown}\n</section>'
    )


def _picture(picture: Picture) -> str:
    key = escape(picture.key)
    wrong = "nothing to compare with" if picture.wrong is None else f"{_percent(picture.wrong)} % of pixels are wrong"
    views = {
        "image": ("Image", f"{key} as it was recorded"),
        "truth": ("Truth", f"The true classes of {key}, in their colours"),
        "prediction": ("Prediction", f"The classes found in {key}, in their colours"),
        "difference": ("Wrong", f"{key} in dark grey, its wrong pixels in the colours of the classes found: {wrong}"),
    }
    figures = "\n".join(
        f'<figure><img src="{_embedded(picture.files[kind])}" width="{picture.width}" height="{picture.height}" '
        f'alt="{alt}"><figcaption>{title}</figcaption></figure>'
        for kind, (title, alt) in views.items()
    )
    return (
        f'<article class="card picture">\n<h3>{key}</h3>\n<p class="quiet">{wrong}</p>\n'
        f'<div class="views">\n{figures}\n</div>\n</article>'
    )


def _embedded(path: Path) -> str:
    """A PNG file as a data URI. Raises RunError."""
    try:
        return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); remove {path.parent} to do without pictures"
        raise RunError(f"{path}: {reason}") from None


def _next(record: RunRecord) -> str:
    """Commands to go on with, for the networks that are there."""
    settings, name = record.settings, _name(record)
    parts = []
    if record.steps_done < (record.num_steps or math.inf):
        parts.append("<p>To go on with the training, give the command again that began it.</p>")
    network = next((file for file in (BEST, LAST) if (record.run / file).is_file()), None)
    if network:
        weights = f"{name}/{network}"
        score = ["segtrain", "evaluate", weights, "--dataset", settings["dataset"], "--root", "DATA"]
        if settings["validation"] and settings["val_split"] != "val":
            score += ["--split", settings["val_split"]]
        commands = [score, ["segtrain", "predict", weights, "drive.mp4", "--out", "drive"]]
        parts.append("<p>In the folder that holds the run, with DATA for that of a data set:</p>")
        parts += [f"<pre><code>{escape(shlex.join(command))}</code></pre>" for command in commands]
    parts.append(
        f"<p>To make this page anew:</p>\n<pre><code>{escape(shlex.join(['segtrain', 'report', name]))}</code></pre>"
    )
    return "<section>\n<h2>How to go on</h2>\n" + "\n".join(parts) + "\n</section>"


def _settings(record: RunRecord) -> str:
    """What differs from the defaults; then, folded, everything."""
    defaults = default_settings()
    settings = {
        name: value
        for name, value in record.settings.items()
        if name not in ("training", "validation", "validation_groups")
    }
    changed = [name for name, value in settings.items() if value != defaults.get(name)]
    rows = [(name, _told(settings[name]), _told(defaults.get(name))) for name in changed]
    differing = _table(("Setting", "Here", "Default"), rows) if rows else "<p>All are the defaults.</p>"
    data = [
        (name, f"{each['samples']} samples, classes of {each['classes']}, SHA-256 {each['sha256']}")
        for name in ("training", "validation")
        if (each := record.settings[name])
    ]
    machines = [(f"from step {each.step}", f"{each.device}, workers: {each.workers}") for each in record.beginnings]
    every = _table(("Setting", "Value"), [(name, _told(value)) for name, value in settings.items()])
    return (
        f'<section>\n<h2>Settings</h2>\n<div class="card">\n{differing}\n'
        f"<details>\n<summary>All settings</summary>\n{every}\n</details>\n"
        f"<details>\n<summary>Data, machine and versions</summary>\n"
        f"{_table(('What', 'Value'), [*data, *machines, *record.versions.items()])}\n</details>\n</div>\n</section>"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(each)}</td>" for each in others)}</tr>'
        for first, *others in rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _told(value: Any) -> str:
    """A setting as people write it."""
    if value in (None, [], {}, ""):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ("×" if len(value) == 2 and all(type(each) is int for each in value) else ", ").join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def _percent(fraction: float) -> str:
    return "–" if math.isnan(fraction) else f"{100 * fraction:.2f}"


def _drawn(fraction: float) -> float:
    return 0.0 if math.isnan(fraction) else fraction


def _swatch(colour: str | None) -> str:
    return f'<span class="swatch" style="background:{escape(colour)}"></span>' if colour else ""


def _name(record: RunRecord) -> str:
    """Of the run's folder."""
    return record.run.resolve().name
