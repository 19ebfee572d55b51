"""What the folder of a training says of it: settings, the records of its steps, and pictures."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.training.run_folder import CONFIG
from jobs.training.run_log import LOG
from segtrain.errors import RunError
from segtrain.page.pictures import FOLDER, INDEX, KINDS

WATCHED = ("watch/entropy", "watch/logit_norm", "watch/classes", "watch/teacher_variance")  # beside consistency
CURVES = ("loss", "learning_rate", "samples_per_second", *WATCHED)  # of a line of the log
_IOU = "iou/"  # before a class name


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A training was begun, or resumed from `step` on.

    places: what of the data set the command named, absolute: root, layout and classes, those that it did.
    """

    step: int
    workers: int
    device: str
    places: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Scores after `step` steps, fractions in [0,1] or NaN; `iou` by class name; `tc` where it was looked at."""

    step: int
    miou: float
    accuracy: float
    iou: Mapping[str, float]
    tc: float | None = None


@dataclass(frozen=True, kw_only=True)
class ValidatedImage:
    """A validated image: `files` by KINDS, of width x height pixels each; `wrong` is the share of wrong pixels."""

    key: str
    width: int
    height: int
    wrong: float | None
    files: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Of the validation after `step` steps; `colours`: class name -> #rrggbb."""

    step: int
    colours: Mapping[str, str]
    images: tuple[ValidatedImage, ...]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A training: curves are (step, value) pairs by name, as CURVES; everything is in the order of steps."""

    run: Path
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    num_steps: int | None
    beginnings: tuple[Beginning, ...]
    curves: Mapping[str, tuple[tuple[int, float], ...]]
    validations: tuple[Validation, ...]
    pictures: Pictures | None

    @property
    def steps_done(self) -> int:
        """As far as the log knows."""
        begun = [each.step for each in self.beginnings]
        recorded = [points[-1][0] for points in self.curves.values() if points]
        return max([*begun, *recorded, *(each.step for each in self.validations)], default=0)

    @property
    def last(self) -> Validation | None:
        return self.validations[-1] if self.validations else None

    @property
    def best(self) -> Validation | None:
        """The first of the highest mIoU, which best.safetensors is of."""
        scored = [each for each in self.validations if not math.isnan(each.miou)]
        return max(scored, key=lambda each: each.miou, default=None)


def read_run(run: Path) -> RunRecord:
    """Read the folder of a training, also while it goes on.

    A resumed training repeats steps: what the log says of those after its last checkpoint no longer counts.
    Raises: RunError: no folder of `segtrain fit`, a damaged file.
    """
    if not (run / CONFIG).is_file():
        raise RunError(f"{run}: holds no {CONFIG}, so no training was begun here; give the --out of a `segtrain fit`")
    with _telling(run / CONFIG):
        config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        settings, versions = dict(config["settings"]), dict(config["versions"])
    if not {"network", "training", "validation"} <= settings.keys():
        raise RunError(f"{run}: its {CONFIG} is of another program; give the --out of a `segtrain fit`")
    with _telling(run / CONFIG):
        for data in (settings["training"], settings["validation"] or settings["training"]):
            _ = data["samples"], data["classes"], data["sha256"]
    num_steps, beginnings = None, []
    lines: dict[int, dict[str, Any]] = {}
    for step, values in _log_lines(run / LOG):
        if "steps" in values:
            lines = {known: line for known, line in lines.items() if known <= step}
            num_steps = values["steps"]
            with _telling(run / LOG):
                places = _places(values)
            beginnings.append(Beginning(step=step, workers=values["workers"], device=values["device"], places=places))
        else:
            lines.setdefault(step, {}).update(values)
    ordered = sorted(lines.items())
    return RunRecord(
        run=run,
        settings=settings,
        versions=versions,
        num_steps=num_steps,
        beginnings=tuple(beginnings),
        curves={name: tuple((step, line[name]) for step, line in ordered if name in line) for name in CURVES},
        validations=tuple(_validation(step, line) for step, line in ordered if "miou" in line),
        pictures=_read_pictures(run / FOLDER),
    )


def _places(values: Mapping[str, Any]) -> dict[str, Path]:
    """Where a training's data set lay, and its table of classes, as its log says; logs did not always."""
    config, folder = values.get("config", {}), values.get("folder")
    named = {name: config.get(name) for name in ("root", "layout", "classes")}
    return {} if folder is None else {name: Path(folder, path) for name, path in named.items() if path is not None}


def _log_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Steps and values. Raises: RunError for a damaged line; the last may still be in the middle of being written."""
    with _telling(path):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole, _, _ = text.rpartition("\n")
    for number, line in enumerate(whole.splitlines(), start=1):
        with _telling(path, number):
            values = json.loads(line)
            step = values.pop("step")
            _require_numbers(step, values)
        yield step, values


def _require_numbers(step: Any, values: Mapping[str, Any]) -> None:
    """Raises: TypeError, ValueError or KeyError unless these are values of the trainer's log."""
    if type(step) is not int or step < 0:
        raise ValueError(f"step {step!r}")
    if "steps" in values:
        if type(values["steps"]) is not int or type(values["workers"]) is not int:
            raise TypeError("steps and workers are whole numbers")
        values["device"]
        return
    strangers = [name for name, value in values.items() if type(value) not in (int, float)]
    if strangers:
        raise TypeError(f"{strangers[0]} is no number")
    if "miou" in values:
        values["accuracy"]


def _validation(step: int, line: Mapping[str, float]) -> Validation:
    iou = {name.removeprefix(_IOU): value for name, value in line.items() if name.startswith(_IOU)}
    return Validation(step=step, miou=line["miou"], accuracy=line["accuracy"], iou=iou, tc=line.get("tc"))


def _read_pictures(folder: Path) -> Pictures | None:
    """None where there are none, or they are about to be replaced."""
    path = folder / INDEX
    if not path.exists():
        return None
    with _telling(path):
        index = json.loads(path.read_text(encoding="utf-8"))
        images = tuple(
            ValidatedImage(
                key=each["key"],
                width=int(each["width"]),
                height=int(each["height"]),
                wrong=each["wrong"],
                files={kind: folder / f"{number}-{kind}.png" for kind in KINDS},
            )
            for number, each in enumerate(index["images"])
        )
        return Pictures(step=index["step"], colours=dict(index["classes"]), images=images)


@contextmanager
def _telling(path: Path, line: int | None = None) -> Iterator[None]:
    """Turns what goes wrong while a file is read into a RunError that names it, and the line."""
    where = f"{path}" if line is None else f"{path}, line {line}"
    try:
        yield
    except OSError as error:
        raise RunError(f"{where}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"damaged ({type(error).__name__}: {error}), expected what `segtrain fit` writes"
        raise RunError(f"{where}: {reason}; restore it, or remove it to do without") from None
