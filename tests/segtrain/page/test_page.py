"""The page of a training: what it says, and that it stands alone."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.drivers import PATIENCE

from jobs.errors import RunFolderError
from jobs.pages.chart import BOTTOM, HEIGHT, LEFT, MOST_POINTS, Chart, thinned, tick_label, ticks
from jobs.pages.style import DARK, LIGHT
from jobs.training.run_log import RunLog
from propagate.data.classes import load_classes
from segtrain.cli.report import report
from segtrain.data.dataset import Pixels
from segtrain.errors import RunError
from segtrain.page.page import write_page
from segtrain.page.pictures import LONGEST, Segmented, save_pictures
from segtrain.page.record import read_run

CITYSCAPES = load_classes("cityscapes")
ROAD, CAR, IGNORED = CITYSCAPES.train_names.index("road"), CITYSCAPES.train_names.index("car"), 255
SETTINGS = {
    "dataset": "cityscapes",
    "network": "resnet18",
    "epochs": 4,
    "val_split": "val",
    "crop": [128, 256],
    "offsets": [-3, 3],
}
SAMPLES = {"samples": 33, "classes": "cityscapes", "sha256": "ab" * 32}
VOID = {"meta", "link", "img", "br", "!doctype"}


def begun(step: int = 0, **more: Any) -> dict[str, Any]:
    return {"step": step, "steps": 40, "workers": 1, "device": "cpu", **more}


def trained(step: int, loss: float = 0.5) -> dict[str, Any]:
    return {"step": step, "loss": loss, "learning_rate": 0.001, "samples_per_second": 8.0}


def validated(step: int, miou: float, **iou: float) -> dict[str, Any]:
    return {"step": step, "miou": miou, "accuracy": 0.5, **{f"iou/{name}": value for name, value in iou.items()}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training that was validated twice, the second time with a lower mIoU, and that has pictures."""
    lines = [
        begun(),
        trained(10, 2.0),
        validated(10, 0.4, road=0.9, car=0.3),
        trained(40),
        validated(40, 0.3, road=0.6),
    ]
    run = written(tmp_path / "a run", lines)
    (run / "best.safetensors").touch()
    truth = np.full((8, 16), ROAD, np.uint8)
    truth[:, 8:] = IGNORED
    found = np.where(np.arange(16) < 4, CAR, ROAD).astype(np.uint8) * np.ones((8, 1), np.uint8)
    image = np.full((8, 16, 3), 200, np.uint8)
    save_pictures(run, 40, [Segmented("<bonn> & 1", Pixels(image, truth), found)], CITYSCAPES)
    return run


def written(run: Path, lines: Sequence[Mapping[str, Any]], validation: Mapping[str, Any] | None = SAMPLES) -> Path:
    run.mkdir()
    config = {"settings": {**SETTINGS, "training": SAMPLES, "validation": validation}, "versions": {"torch": "2.13"}}
    (run / "config.json").write_text(json.dumps(config))
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


class Outline(HTMLParser):
    """Elements of a page, which must be closed in their order; headings by level; what it refers to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.levels: list[int] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        assert tag not in ("script", "link", "iframe")
        self.addresses += [values[name] or "" for name in ("src", "href", "srcset", "data") if name in values]
        if tag == "img":
            self.images.append(values)
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _attributes: list[tuple[str, str | None]]) -> None:
        assert tag in ("line", "polyline", "polygon")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def text_of(run: Path) -> str:
    """The words of the page of a run, which must be sound."""
    outline = Outline(write_page(run).read_text(encoding="utf-8"))
    assert outline.open == []
    return " ".join(" ".join(outline.text).split())


def test_the_page_stands_alone_and_is_accessible(run: Path) -> None:
    page = write_page(run).read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == []
    assert outline.addresses
    assert all(address.startswith("data:image/png;base64,") for address in outline.addresses)
    assert not re.search(r"https?:|url\(|@import", page)
    assert outline.levels[0] == 1
    assert all(below - above <= 1 for above, below in zip(outline.levels, outline.levels[1:], strict=False))
    assert [(image["width"], image["height"]) for image in outline.images] == [("16", "8")] * 4
    assert all("<bonn> & 1" in (image["alt"] or "") for image in outline.images)
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert [ElementTree.fromstring(chart).attrib["aria-label"].partition(",")[0] for chart in charts] == [
        "mIoU",
        "Loss",
        "Learning rate",
        "Samples per second",
    ]


def test_commands_name_the_data_set_that_was_used(tmp_path: Path) -> None:
    config = {"root": "my data", "layout": "/l/layout.yaml", "classes": "t.yaml", "shards": ["s"]}
    run = written(tmp_path / "run", [begun(config=config, folder="/home/me"), trained(10)])
    (run / "last.safetensors").touch()
    command = "segtrain evaluate run/last.safetensors --dataset cityscapes --root '/home/me/my data'"
    assert f"{command} --layout /l/layout.yaml --classes /home/me/t.yaml" in text_of(run)


def test_what_a_page_says(run: Path) -> None:
    words = text_of(run)
    for said in (
        "resnet18 on cityscapes",
        "Best mIoU 40.00 % after step 10",
        "Last mIoU 30.00 % after step 40",
        "The network resnet18; 33 samples to train on, 33 images to validate on",
        "50.00 % of pixels are wrong",
        "segtrain evaluate 'a run/best.safetensors' --root DATA",
        "segtrain report 'a run'",
        "epochs 4 180",  # here, and by default
        "crop 128×256 800×800",
        "offsets -3, 3 –",
        "torch 2.13",
    ):
        assert said in words
    assert "dataset cityscapes cityscapes" not in words  # as it is by default
    assert "give the command again" not in words
    table = words[words.index("Class last, step 40 best, step 10") :]
    assert table.startswith("Class last, step 40 best, step 10 road 60.00 90.00 car – 30.00")


def test_one_image_is_no_images(tmp_path: Path) -> None:
    words = text_of(written(tmp_path / "run", [begun()], validation={**SAMPLES, "samples": 1}))
    assert "33 samples to train on, 1 image to validate on." in words
    assert "1 sample, classes of cityscapes" in words


def test_a_run_in_progress_has_a_page(tmp_path: Path) -> None:
    run = written(tmp_path / "run", [begun(), trained(10)])
    with (run / "log.jsonl").open("a") as log:
        log.write('{"step": 20, "lo')  # is being written
    words = text_of(run)
    assert "Steps 10 of 40" in words
    assert "Not validated so far." in words
    assert "To go on with the training, give the command again that began it." in words


@pytest.mark.parametrize("lines", [[], [begun()], [begun(), trained(10, float("nan"))]])
def test_a_run_that_has_hardly_begun_has_a_page(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    words = text_of(written(tmp_path / "run", lines, validation=None))
    assert "none to validate on" in words
    assert "segtrain evaluate" not in words  # there are no weights yet


def test_a_run_without_a_log_has_a_page(tmp_path: Path) -> None:
    run = written(tmp_path / "run", [])
    (run / "log.jsonl").unlink()
    assert "just begun" in text_of(run)


def test_what_a_resumption_repeats_counts_once(tmp_path: Path) -> None:
    lines = [begun(), trained(10, 3.0), validated(10, 0.1), trained(20, 2.0), validated(20, 0.9), trained(30, 1.0)]
    run = written(tmp_path / "run", [*lines, begun(10), trained(20, 1.5)])
    record = read_run(run)
    assert record.curves["loss"] == ((10, 3.0), (20, 1.5))
    assert [each.step for each in record.validations] == [10]
    assert record.steps_done == 20
    assert "Dashed lines: resumed after step 10." in text_of(run)


def test_a_finished_run_that_was_called_again_was_not_resumed(tmp_path: Path) -> None:
    assert "resumed" not in text_of(written(tmp_path / "run", [begun(), trained(40), begun(40)]))


def test_the_first_of_equal_scores_is_the_best(tmp_path: Path) -> None:
    scores = [validated(5, float("nan")), validated(10, 0.5), validated(20, 0.5), validated(30, 0.4)]
    best = read_run(written(tmp_path / "run", [begun(), *scores])).best
    assert best is not None
    assert best.step == 10


@pytest.mark.parametrize(
    "line",
    ['{"step": 20, "lo', "[]", '{"loss": 1.0}', '{"step": -1}', '{"step": 20, "loss": "1"}', '{"step": 1, "miou": 1}'],
)
def test_a_damaged_line_is_named(run: Path, line: str) -> None:
    with (run / "log.jsonl").open("a") as log:
        log.write(line + "\n")
    with pytest.raises(RunError, match=r"log\.jsonl, line 6: damaged \(.*expected what `segtrain fit` writes"):
        write_page(run)
    assert not (run / "index.html").exists()


def test_a_first_line_without_its_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"log\.jsonl: damaged \(AttributeError"):
        read_run(written(tmp_path / "run", [begun(config=None, folder="/home/me")]))


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no config\.json, so no training was begun here"):
        write_page(tmp_path)
    (tmp_path / "config.json").write_text('{"settings": {"architecture": "SDCNet2D"}, "versions": {}}')
    with pytest.raises(RunError, match=r"its config\.json is of another program"):
        write_page(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json: damaged"):
        write_page(tmp_path)


def test_a_lost_picture_is_named(run: Path) -> None:
    (run / "pictures" / "0-truth.png").unlink()
    with pytest.raises(RunError, match=r"0-truth\.png: cannot be read .*remove .*pictures to do without"):
        write_page(run)
    (run / "pictures" / "pictures.json").unlink()
    assert "Validated images" not in text_of(run)


def test_a_large_picture_is_shrunk_and_its_errors_counted_before(tmp_path: Path) -> None:
    truth = np.zeros((512, 2 * LONGEST), np.uint8)
    found = truth.copy()
    found[0, 0] = CAR
    pixels = Pixels(np.zeros((*truth.shape, 3), np.uint8), truth)
    save_pictures(tmp_path, 1, [Segmented("large", pixels, found)], CITYSCAPES)
    (image,) = json.loads((tmp_path / "pictures" / "pictures.json").read_text())["images"]
    assert image == {"key": "large", "height": 256, "width": LONGEST, "wrong": 1 / truth.size}


def test_pictures_that_cannot_be_replaced_are_gone_from_the_page(run: Path) -> None:
    blocked = run / "pictures" / "0-truth.png"
    blocked.unlink()
    blocked.mkdir()
    pixels = Pixels(np.zeros((8, 16, 3), np.uint8), np.zeros((8, 16), np.uint8))
    with pytest.raises(RunFolderError, match=r"0-truth\.png: cannot be written"):
        save_pictures(run, 50, [Segmented("other", pixels, pixels.label)], CITYSCAPES)
    assert "Validated images" not in text_of(run)


def test_a_half_line_is_removed_before_a_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    log = RunLog(tmp_path, 1)
    log.write(2, loss=1.0)
    log.close()
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1}\n{"step": 2, "loss": 1.0}\n'


def test_the_command_prints_where_the_page_lies(run: Path) -> None:
    result = CliRunner().invoke(report, [str(run)])
    assert (result.exit_code, result.stdout) == (0, f"{run / 'index.html'}\n")
    assert "segtrain report run" in CliRunner().invoke(report, ["--help"]).stdout


@pytest.mark.parametrize(
    ("low", "high"), [(0, 20), (0.65, 1.65), (5, 5), (0, 0), (-1e-9, 3e-9), (0.3, 0.1 + 0.2), (69.9, 79.4), (0, 33333)]
)
def test_ticks_are_few_round_and_around_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    distance = found[1] - found[0]
    assert 3 <= len(found) <= 7
    assert found[0] <= low + 1e-6 * distance
    assert found[-1] >= high - 1e-6 * distance
    assert f"{distance:.0e}"[0] in "125"
    assert len({tick_label(value, distance) for value in found}) == len(found)


def test_steps_have_whole_ticks() -> None:
    assert ticks(0, 2, whole=True) == [0, 1, 2]


@pytest.mark.parametrize("greatest", [3e-7, 0.004, 0.02, 1.0, 87.0, 5321.0, 40000.0])
def test_labels_of_values_have_room_on_a_phone(greatest: float) -> None:
    drawn = Chart(name="x", points=[(0, 0.0), (9, greatest)], num_steps=9).svg()
    labels = re.findall(r'text-anchor="end"[^>]*>([^<]+)</text>', drawn)
    assert max(len(label) for label in labels) * 18 * 0.6 <= LEFT - 8


def test_a_curve_is_drawn_where_its_axes_say() -> None:
    chart = ElementTree.fromstring(Chart(name="x", points=[(0, 0.0), (5, 1.0), (10, 2.0)], num_steps=10).svg())
    (line,) = (each for each in chart if each.get("class") == "line")
    positions = {(each.text or ""): each for each in chart if each.tag == "text"}
    left, middle, right = (tuple(map(float, point.split(","))) for point in line.attrib["points"].split())
    assert left == (float(positions["0"].attrib["x"]), float(positions["0.0"].attrib["y"]))
    assert left == (LEFT, HEIGHT - BOTTOM)
    assert right[0] == float(positions["10"].attrib["x"])
    assert right[1] == float(positions["2.0"].attrib["y"])
    assert middle == pytest.approx(((left[0] + right[0]) / 2, (left[1] + right[1]) / 2))


def test_many_points_become_means_on_a_band() -> None:
    points = [(float(step), float(step % 2)) for step in range(4 * MOST_POINTS)]
    means, ranges = thinned(points)
    assert len(means) == MOST_POINTS
    assert means[0] == (1.5, 0.5)
    assert ranges[0] == (0.0, 1.0)
    assert thinned(points[:5])[0] == points[:5]


def test_values_that_are_not_finite_are_left_out() -> None:
    drawn = Chart(name="x", points=[(1, float("inf")), (2, 1.0), (3, float("nan"))], num_steps=3).svg()
    assert drawn.count("<circle") == 1
    assert not re.search(r"\b(nan|inf)\b", drawn)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("ground", ["ground", "card"])
def test_contrast_suffices(palette: dict[str, str], ground: str) -> None:
    least = {"text": 4.5, "quiet": 4.5, "accent": 3.0, "second": 3.0}
    least |= {name: 3.0 for name in palette if name.startswith("series-")}
    for name, ratio in least.items():
        assert contrast(palette[name], palette[ground]) >= ratio, name


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it, 1…21."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_a_browser_has_nothing_to_complain_of(run: Path, tmp_path: Path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    told = ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    page = write_page(run).as_uri()
    process = subprocess.run(
        [browser, *quiet, *told, page], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert "resnet18 on cityscapes" in process.stdout
    assert ":CONSOLE" not in process.stderr
