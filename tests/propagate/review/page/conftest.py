"""One Chromium for all tests of pages: the system's, driven by Playwright. Without either they are skipped."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.browsing import Tab
from helpers.drivers import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def window() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[browser]'")
    with api.sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=program, args=quiet)
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(1000 * PATIENCE)
        context.new_page()  # stays, and what draws pages with it: to start that anew takes most of a test's time
        yield context
        browser.close()


@pytest.fixture
def tab(window: Any) -> Iterator[Tab]:
    """A tab for which nothing is stored, whose page must neither complain nor ask for anything from elsewhere."""
    tab = Tab(window.new_page())
    yield tab
    for page in window.pages[1:]:
        page.evaluate("localStorage.clear()")
        page.close()
    assert tab.complaints == []
    own = ("file:", "data:", "blob:", "http://127.0.0.1:")
    assert [address for address in tab.addresses if not address.startswith(own)] == []
