"""The page of a report in a real Chromium, opened from the disk."""

import json
import re
from pathlib import Path

import pytest
from helpers.browsing import Tab
from helpers.report_folders import CLASSES, VOID, labelled, write_report

pytestmark = pytest.mark.slow
HOSTILE = "long_" * 40 + """</script><img src=x onerror="document.title='broken'">'"&\u202eevil\u2028"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 20 clips, ±5: 220 samples, of which 30 are drawn."""
    out = tmp_path_factory.mktemp("report")
    write_report(out, 20, drawn=30)
    return out


def test_the_worst_sample_is_seen_first_and_nothing_is_complained_of(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    assert tab.text("#count") == "220 samples"
    scores = [float(text) for text in tab.texts(".row:not([hidden]) .score")]
    assert scores == sorted(scores)
    assert tab.text("#sample-name") == tab.texts(".row .key")[0]
    assert re.match(
        r"\d+\.\d % of its pixels are doubtful: [\d.]+ % came into the frame, [\d.]+ % were hidden", tab.text("#why")
    )
    assert tab.attribute(".view-labels canvas", "aria-label").endswith(
        "under its labels: road 20 %, building 20 %, vegetation 20 %, sky 20 % and car 19 %"
    )
    assert tab.texts(".columns .column > :last-child") == [
        "−5",
        "−4",
        "−3",
        "−2",
        "−1",
        "0",
        "+1",
        "+2",
        "+3",
        "+4",
        "+5",
    ]
    assert "Up to ±3" in tab.text("#verdict")


def test_labels_have_the_colours_of_their_classes(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    assert tab.pixels(".view-labels canvas", (60, 2), (60, 62)) == [CLASSES[0][1] + "ff", CLASSES[-1][1] + "ff"]
    tab.page.click("#classes button:has-text('road')")
    assert tab.pixels(".view-labels canvas", (60, 2), (60, 62)) == ["#00000000", CLASSES[-1][1] + "ff"]
    assert tab.attribute("#classes button:has-text('road')", "aria-pressed") == "false"


def test_doubts_have_the_colours_of_their_reasons(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    sure, entered, covered = (100, 10), (2, 10), (25, 31)
    assert tab.pixels(".view-doubts canvas", sure, entered, covered) == ["#00000000", "#56b4e9ff", "#d55ea8ff"]
    key = tab.page.locator(".view-doubts .item", has_text="came in").locator(".swatch")
    assert key.evaluate("each => each.style.background") == "rgb(86, 180, 233)"
    shades = [int(colour[1:3], 16) for colour in tab.pixels(".view-confidence canvas", entered, covered, sure)]
    assert shades == sorted(shades)
    assert shades[0] < 100 < 230 < shades[2]


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"text": "000003_"}, 11),
        ({"text": "000003_000024"}, 1),
        ({"from": "4"}, 40),
        ({"from": "-1", "to": "1"}, 60),
        ({"group": "town_000"}, 220),
        ({"group": "elsewhere"}, 0),
        ({"origin": "0"}, 20),
        ({"decision": "reject"}, 0),
        ({"score": "0.0"}, 0),
        ({"share": "0"}, 220),
    ],
)
def test_filters(tab: Tab, folder: Path, fields: dict[str, str], count: int) -> None:
    tab.open(folder)
    tab.fill(fields)
    assert len(tab.rows()) == count
    assert tab.text("#count") == ("220 samples" if count == 220 else f"{count} of 220 samples")
    if count == 0:
        assert not tab.page.is_visible("#sample")
    tab.page.click("#clear")
    assert tab.text("#count") == "220 samples"
    assert not tab.page.is_visible("#clear")


def test_a_class_is_filtered_by_and_its_score_is_what_counts(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    tab.fill({"class": "4"})
    listed = tab.rows()
    assert 0 < len(listed) < 220
    scores = [tab.page.evaluate("row => samples.classScore(row, 4)", row) for row in listed]
    assert scores == sorted(scores)
    assert tab.texts(".row:not([hidden]) .score")[0] == f"{scores[0]:.3f}"


def test_orders(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    for order, column in [("offset", "Math.abs(samples.offset[row])"), ("share", "samples.below(row, 8)")]:
        tab.fill({"order": order})
        values = tab.page.evaluate(f"[...page.list.rows].map(row => {column})")
        assert values == sorted(values, reverse=True)
        tab.page.click("#direction")
        values = tab.page.evaluate(f"[...page.list.rows].map(row => {column})")
        assert values == sorted(values)
    tab.fill({"order": "time"})
    keys = tab.page.evaluate("[...page.list.rows].map(row => samples.key[row])")
    assert keys == sorted(keys)


def test_decisions_by_keys_are_kept_and_downloaded(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    first, second, third = tab.rows()[:3]
    tab.keys("r", "a", "k", "k")
    assert tab.decisions() == {first: "reject", second: "accept"}
    assert tab.text(".row[aria-selected=true] .mark") == "✕"
    tab.keys("j", "j", "r", "u")
    assert tab.decisions() == {first: "reject", second: "accept"}
    assert tab.page.evaluate("page.list.row") == third
    assert tab.text("#decided-count") == "1 accepted, 1 rejected, 218 open."
    tab.open(folder)  # a reload
    assert tab.decisions() == {first: "reject", second: "accept"}
    file = tab.download("#download", "shards.decisions.json")
    assert (file["version"], file["store"]) == (1, "0123abcd")
    rejected = next(each for each in file["samples"] if each["decision"] == "reject")
    assert set(rejected) == {"source_key", "offset", "pairing", "digest", "decision", "at"}
    assert rejected["pairing"] == "label"
    assert rejected["digest"] == f"{first:064x}"
    assert tab.page.evaluate("row => [samples.sourceKey(row), samples.offset[row]]", first) == [
        rejected["source_key"],
        rejected["offset"],
    ]


def test_a_decision_that_was_taken_back_does_not_return(tab: Tab, tmp_path: Path) -> None:
    write_report(tmp_path, 2, drawn=1)
    tab.open(tmp_path)
    (row,) = tab.rows()[:1]
    tab.keys("r")
    file = tab.download("#download", "shards.decisions.json")
    write_report(tmp_path, 2, drawn=1, decisions=file)
    tab.keys("u")
    tab.open(tmp_path)
    assert tab.decisions() == {}
    tab.page.evaluate("localStorage.clear()")
    tab.open(tmp_path)
    assert tab.decisions() == {row: "reject"}


def test_decisions_about_samples_that_have_changed_are_left_out(tab: Tab, tmp_path: Path) -> None:
    about = {"source_key": "town_000000_000019", "offset": 1, "pairing": "label", "decision": "reject", "at": "2026"}
    samples = [{**about, "digest": "f" * 64}, {**about, "source_key": "gone", "digest": ""}]
    write_report(tmp_path, 2, drawn=1, decisions={"version": 1, "store": "0123abcd", "samples": samples})
    tab.open(tmp_path)
    assert tab.decisions() == {}
    assert tab.text("#saved").startswith("2 decisions left out")


def test_everything_beyond_an_offset_is_rejected_at_once(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    tab.fill({"text": "000003_", "order": "time"})
    tab.page.focus("#list")
    tab.keys("Home", "ArrowDown", "ArrowDown", "R")
    offsets = tab.page.evaluate("[...page.decisions.at.keys()].map(row => samples.offset[row]).sort((a, b) => a - b)")
    assert offsets == [-5, -4, -3]
    assert tab.texts(".clip li[data-decision=reject] button") == ["✕−5", "✕−4", "✕−3"]
    tab.keys("u")
    assert tab.decisions() == {}


def test_letters_are_no_keys_while_one_writes_or_where_they_are_off(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    tab.keys("/", "a", "r")
    assert tab.page.input_value("#search") == "ar"
    assert tab.decisions() == {}
    tab.page.fill("#search", "")
    tab.keys("Escape", "?")
    assert tab.page.is_visible("#keys")
    tab.page.uncheck("#single-keys")
    tab.keys("Escape", "r")
    assert tab.decisions() == {}


def test_a_sample_that_was_not_drawn_says_how_to_see_it(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    tab.page.focus("#list")
    tab.keys("End")
    assert tab.text("#undrawn") == (
        "No pictures of this sample in this report. The 30 worst samples of 220 are drawn; "
        "any sample is drawn by: propagate review /data/shards"
    )
    assert not tab.page.is_visible("#views")
    tab.keys("Home")
    tab.page.wait_for_selector("#views", state="visible")


def test_views_zoom_together(tab: Tab, folder: Path) -> None:
    tab.open(folder)
    tab.keys("+", "+")
    moved = set(tab.page.evaluate("[...document.querySelectorAll('.layers')].map(each => each.style.transform)"))
    assert len(moved) == 1
    assert "scale(2.25)" in moved.pop()
    tab.page.focus(".view-confidence .stage")
    tab.keys("ArrowRight")
    assert tab.page.evaluate("viewer.zoom.x") == pytest.approx(-0.725)
    box = tab.page.locator(".view-doubts .stage").bounding_box()
    assert box is not None
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.mouse.wheel(0, -100)
    tab.page.wait_for_function("viewer.zoom.scale > 2.25")
    tab.keys("0")
    assert tab.page.evaluate("viewer.zoom.scale") == 1
    tab.page.focus("#list")
    tab.page.mouse.wheel(0, -100)  # the page's, since no picture has the focus
    tab.page.wait_for_timeout(50)
    assert tab.page.evaluate("viewer.zoom.scale") == 1


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_blinking_moves_by_itself_only_where_that_is_wanted(tab: Tab, folder: Path, motion: str) -> None:
    tab.page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
    tab.open(folder)
    tab.keys("b")
    assert tab.text(".view-labels h3") == "Annotated frame, in turn"
    assert tab.page.evaluate("viewer.blinking !== 0") == (motion == "no-preference")
    tab.keys("b")
    assert tab.page.evaluate("viewer.blinking") == 0
    tab.page.wait_for_timeout(50)
    assert tab.text(".view-labels h3") == "Labels"


def test_truth_and_another_store_have_their_views_and_orders(tab: Tab, tmp_path: Path) -> None:
    write_report(
        tmp_path,
        2,
        has={"truth": True, "against": True, "reasons": False},
        against={"name": HOSTILE, "settings": {}},
        truth_table={"columns": ["offset", "samples", "mIoU", HOSTILE], "rows": [["±1", 1234, 0.9012, None]]},
    )
    tab.open(tmp_path)
    assert tab.page.input_value("#order") == "differs"
    assert len(tab.texts("#views .view:not([hidden])")) == 8
    assert HOSTILE in tab.page.text_content(".view-against h3")  # type: ignore[operator]
    assert "% differ" in tab.texts(".row .about")[0]
    assert tab.text("#why").endswith("of its pixels are doubtful.")
    assert tab.texts("#truth tbody td") == ["1,234", "90.1", "–"]
    right, wrong = (60, 5), (60, 13)  # the other labels lie two rows lower
    for view in ("not-truth", "not-against"):
        assert tab.pixels(f".view-{view} canvas", right, wrong) == ["#00000000", CLASSES[1][1] + "ff"]


def test_names_of_others_stay_text(tab: Tab, tmp_path: Path) -> None:
    write_report(
        tmp_path,
        2,
        name=HOSTILE,
        groups=[HOSTILE],
        sources=[HOSTILE, HOSTILE + "2"],
        origins=["annotated", HOSTILE, "fused", "refined", "pseudo"],
        classes=[labelled(i, *each) for i, each in enumerate([(HOSTILE, "#804080"), *CLASSES[1:]])] + [VOID],
        verdict=HOSTILE,
        dataset=HOSTILE,
        command=HOSTILE,
    )
    tab.open(tmp_path)
    tab.keys("r")
    assert tab.page.title() == HOSTILE + " – propagated labels"
    assert tab.page.locator("img[src=x]").count() == 0
    assert HOSTILE in tab.page.text_content("#classes")  # type: ignore[operator]
    assert HOSTILE in tab.page.text_content("#by-class")  # type: ignore[operator]
    assert HOSTILE in tab.page.text_content("#sample-facts")  # type: ignore[operator]
    tab.fill({"group": HOSTILE})
    assert len(tab.rows()) == 22
    tab.page.set_viewport_size({"width": 390, "height": 844})
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390


def test_what_is_missing_beside_the_page_is_said(tab: Tab, tmp_path: Path) -> None:
    write_report(tmp_path, 2)
    (tmp_path / "data" / "p-0.js").unlink()
    tab.open(tmp_path, ready="#undrawn:not([hidden])")
    assert tab.text("#undrawn") == "data/p-0.js could not be read: it must lie beside this page, unchanged"
    (tmp_path / "data" / "rows-000.js").write_text("report.rows(")
    tab.open(tmp_path, ready="#problem:not([hidden])")
    assert tab.text("#problem") == "data/rows-000.js is damaged: write the report again"
    (tmp_path / "data" / "store.js").unlink()
    tab.open(tmp_path, ready="#problem:not([hidden])")
    assert "data/store.js must lie beside this page" in tab.text("#problem")
    tab.complaints.clear()  # the browser says the same


def test_twenty_thousand_samples_scroll_with_few_elements(tab: Tab, tmp_path: Path) -> None:
    write_report(tmp_path, 1819, drawn=1)
    tab.open(tmp_path)
    assert tab.text("#count") == "20,009 samples"
    tab.page.focus("#list")
    tab.keys("End")
    assert tab.attribute("[aria-selected=true]", "aria-posinset") == "20009"
    assert tab.attribute("#list", "aria-activedescendant") == tab.attribute("[aria-selected=true]", "id")
    assert tab.page.locator(".row").count() < 60
    before = tab.attribute("#list", "aria-activedescendant")
    tab.keys("ArrowUp")
    assert tab.attribute("#list", "aria-activedescendant") not in ("", before)
    tab.fill({"order": "time", "class": "4", "from": "1"})
    tab.keys("Home")
    assert tab.attribute("[aria-selected=true]", "aria-posinset") == "1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_every_control_has_a_name(tab: Tab, folder: Path, scheme: str) -> None:
    tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    tab.open(folder)
    tab.keys("r")
    assert tab.low_contrasts() == []
    unnamed = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=img]")]
        .filter(each => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length))
        .map(each => each.outerHTML)"""
    )
    assert unnamed == []


def test_a_phone_needs_no_scrolling_sideways(tab: Tab, folder: Path) -> None:
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.open(folder)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
    tab.page.click(".row >> nth=2")
    tab.page.wait_for_function("document.querySelector('#viewer').getBoundingClientRect().top < 100")
    tab.page.set_viewport_size({"width": 1280, "height": 800})


def test_the_page_loads_all_that_lies_beside_it_and_writes_text_only(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    loaded = re.findall(r'<script src="([^"]+)"></script>', page)
    assert [path for path in loaded if not (folder / path).is_file()] == []
    assert not re.search(r"https?:|@import|url\(", page)
    for script in folder.glob("page/*.js"):
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?:", text), script
        assert f"page/{script.name}" in loaded
    assert json.loads((folder / "data" / "store.js").read_text()[len("report.store(") : -2])["rows"] == 220
