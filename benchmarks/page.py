"""The page of a report in a browser, with many samples: milliseconds of the first picture, filters, orders, scrolling.

PYTHONPATH=.:tests python benchmarks/page.py 20000 100000
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from helpers.report_folders import write_report
from playwright.sync_api import Page, sync_playwright

PER_CLIP = 11
ACTIONS: dict[str, list[dict[str, str]]] = {
    "list all again": [{}],
    "order by doubtful pixels": [{"order": "share"}],
    "order by offset": [{"order": "offset"}],
    "order by sequence": [{"order": "time"}],
    "order by score": [{"order": "score"}],
    "filter by name": [{"text": text} for text in ("000", "00001", "1234", "_0000", "24")],
    "filter by class": [{"text": "", "class": str(index)} for index in range(5)],
    "filter by offset": [{"class": "", "from": str(offset)} for offset in range(1, 6)],
    "filter by doubtful pixels": [{"from": "", "share": str(share)} for share in range(1, 6)],
    "filter by sequence": [{"share": "", "group": text} for text in ("000", "001", "1", "town", "9")],
    "all": [{"group": ""}],
}
# From the change of the form to a list that is laid out.
TIMED = """async (fields) => {
  await new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)));
  const start = performance.now();
  controls.set(fields);
  document.querySelector("#list .row").getBoundingClientRect();
  return performance.now() - start;
}"""
FIRST = """addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  if (!window.first && document.querySelector(".view-labels canvas[aria-label]")) window.first = performance.now();
}).observe(document.body, {subtree: true, attributes: true}))"""
# Some rows a frame, and every fiftieth frame a leap: the longest times between frames, and the longest of drawing rows.
SCROLLED = """async () => {
  const box = document.getElementById("list"), frames = [], drawn = [];
  const draw = page.list.draw.bind(page.list);
  page.list.draw = () => { const start = performance.now(); draw(); drawn.push(performance.now() - start); };
  let last = performance.now();
  for (let i = 0; i < 400; i++) {
    box.scrollTop += i % 50 === 49 ? box.scrollHeight / 10 : 260;
    await new Promise(done => requestAnimationFrame(done));
    frames.push(performance.now() - last);
    last = performance.now();
  }
  return [frames, drawn].map(times => times.sort((one, other) => other - one));
}"""


def measure(page: Page, folder: Path) -> None:
    page.add_init_script(FIRST)
    page.goto((folder / "index.html").as_uri())
    page.wait_for_selector(".view-labels canvas[aria-label]")
    say("first picture", [page.evaluate("first")])
    for name, changes in ACTIONS.items():
        say(name, [page.evaluate(TIMED, each) for each in (changes * 5)[:5]])
    frames, drawn = page.evaluate(SCROLLED)
    say("between frames while scrolling, longest", frames[:5])
    say("drawing rows while scrolling, longest", drawn[:5])


def say(name: str, times: list[Any]) -> None:
    print(f"{name:42}{max(times):8.1f} ms   of {', '.join(f'{each:.1f}' for each in times)}", flush=True)


def main() -> None:
    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=quiet)
        for num_samples in map(int, sys.argv[1:] or ("20000",)):
            with tempfile.TemporaryDirectory() as name:
                write_report(Path(name), -(-num_samples // PER_CLIP), drawn=2000)
                context = browser.new_context(viewport={"width": 1440, "height": 900})
                page = context.new_page()
                print(f"{num_samples} samples, Chromium {browser.version}")
                measure(page, Path(name))
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
