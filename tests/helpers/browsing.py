"""A tab of a real Chromium, as tests of pages use it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # tests are skipped where Playwright is not installed
    from playwright.sync_api import Page

DRAWN = ".view-labels canvas[aria-label], #undrawn:not([hidden])"
_CONTRASTS = """() => {
  const luminance = (colour) => {
    const parts = colour.match(/[\\d.]+/g).map(part => part / 255);
    const [r, g, b] = parts.map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!colour.startsWith("rgba(0, 0, 0, 0")) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || !element.checkVisibility() || element.closest(":disabled, option")) continue;
    const colours = [getComputedStyle(element).color, ground(element)];
    const [one, other] = colours.map(luminance).sort((a, b) => a - b);
    if ((other + .05) / (one + .05) < 4.5) found.add(`${element.outerHTML.slice(0, 120)}: ${colours}`);
  }
  return [...found];
}"""


def _plain(text: str) -> str:
    """Spaces where lines may not break are spaces."""
    return text.replace("\u00a0", " ").strip()


class Tab:
    """A tab that keeps what its page complains of, and whatever it asks for elsewhere."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.addresses.append(request.url))

    def open(self, place: Path | str, ready: str = DRAWN) -> None:
        """Open a folder's page, or an address, and wait until its first sample is seen."""
        self.page.goto((place / "index.html").as_uri() if isinstance(place, Path) else place)
        self.page.wait_for_selector(ready)

    def text(self, selector: str) -> str:
        return _plain(self.page.inner_text(selector))

    def wait_for_text(self, selector: str, text: str) -> None:
        self.page.locator(selector).filter(has_text=text).wait_for()

    def texts(self, selector: str) -> list[str]:
        return [_plain(text.replace("\n", "")) for text in self.page.locator(selector).all_inner_texts()]

    def attribute(self, selector: str, name: str) -> str:
        return _plain(self.page.get_attribute(selector, name) or "")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def fill(self, fields: Mapping[str, str]) -> None:
        self.page.evaluate("fields => controls.set(fields)", dict(fields))

    def rows(self) -> list[int]:
        """The rows that are listed, in their order."""
        found: list[int] = self.page.evaluate("[...page.list.rows]")
        return found

    def pixels(self, selector: str, *places: tuple[int, int]) -> list[str]:
        """The pixels (x, y) of a canvas, as #rrggbbaa; of a copy, so that the browser does not advise on reading."""
        script = """([selector, places]) => {
          const canvas = document.querySelector(selector);
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
          copy.drawImage(canvas, 0, 0);
          return places.map(([x, y]) => [...copy.getImageData(x, y, 1, 1).data]);
        }"""
        return ["#" + bytes(each).hex() for each in self.page.evaluate(script, [selector, places])]

    def decisions(self) -> dict[int, str]:
        found: dict[str, str] = self.page.evaluate(
            "Object.fromEntries([...page.decisions.at.keys()].map(row => [row, page.decisions.of(row)]))"
        )
        return {int(row): decision for row, decision in found.items() if decision}

    def download(self, selector: str, name: str) -> Any:
        """The JSON that a button gives as a file of that name."""
        with self.page.expect_download() as download:
            self.page.click(selector)
        assert download.value.suggested_filename == name
        return json.loads(download.value.path().read_text(encoding="utf-8"))

    def low_contrasts(self) -> list[str]:
        """Texts in sight whose contrast is below 4.5 : 1 (WCAG 2.2, AA)."""
        found: list[str] = self.page.evaluate(_CONTRASTS)
        return found
