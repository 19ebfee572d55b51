"""The page in a real Chromium as `propagate review` serves it: any sample is drawn, decisions are saved at once."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from helpers.browsing import Tab

from propagate.data.sample import Sample
from propagate.review.decisions import default_decisions
from propagate.review.desk import Desk
from propagate.review.looking import look_at
from propagate.review.server import ReviewServer
from propagate.shards.reader import Store

pytestmark = pytest.mark.slow
pytest.importorskip("flask", reason="the extra `review` is not installed")
HOSTILE = """</script><img src=x onerror="document.title='broken'">"""


@pytest.fixture
def serve() -> Iterator[Callable[[Store], ReviewServer]]:
    """Serves the report of a store."""
    running = []

    def begin(store: Store) -> ReviewServer:
        path = default_decisions(store.path)
        server = ReviewServer(Desk(look_at(store.path, saved_at=path, decisions=path if path.exists() else None), path))
        thread = threading.Thread(target=server.serve)
        thread.start()
        running.append((server, thread))
        return server

    yield begin
    for server, thread in running:
        if thread.is_alive():
            server.close()
        thread.join(10)


@pytest.fixture
def tab(serve: Callable[[Store], ReviewServer], tab: Tab) -> Tab:  # noqa: ARG001 (ends after it)
    """Closed before what serves it: the page would complain of samples that it still asks for."""
    return tab


@pytest.fixture
def server(serve: Callable[[Store], ReviewServer], clip: Store) -> ReviewServer:
    return serve(clip)


def test_decisions_are_saved_as_they_are_taken_and_there_after_a_reload(
    tab: Tab, clip: Store, server: ReviewServer
) -> None:
    tab.open(server.address)
    first, second, *_ = tab.rows()
    tab.keys("r", "a")
    tab.wait_for_text("#saved", "Saved.")
    saved = json.loads(default_decisions(clip.path).read_text())["samples"]
    assert sorted(each["decision"] for each in saved) == ["accept", "reject"]
    assert all(len(each["digest"]) == 64 for each in saved)
    assert str(default_decisions(clip.path)) in tab.text("#commands")
    tab.open(server.address)
    assert tab.decisions() == {first: "reject", second: "accept"}
    tab.keys("r", "u", "j")
    tab.wait_for_text("#saved", "Saved.")
    assert tab.page.evaluate("localStorage.length") == 0


def test_every_sample_has_pictures(tab: Tab, server: ReviewServer) -> None:
    tab.open(server.address)
    for _ in range(9):
        tab.keys("j")
        tab.page.wait_for_selector("#views", state="visible")
        assert not tab.page.is_visible("#undrawn")
    assert tab.attribute("[aria-selected=true]", "aria-posinset") == "10"


def test_two_windows_keep_the_decisions_of_both(tab: Tab, clip: Store, server: ReviewServer) -> None:
    tab.open(server.address)
    other = Tab(tab.page.context.new_page())
    other.open(server.address)
    first, second, *_ = tab.rows()
    tab.keys("r")
    tab.wait_for_text("#saved", "Saved.")
    other.keys("j", "a")
    other.wait_for_text("#saved", "Saved.")
    assert other.decisions() == {first: "reject", second: "accept"}
    assert len(json.loads(default_decisions(clip.path).read_text())["samples"]) == 2


def test_a_failure_to_save_is_said_and_mended(tab: Tab, clip: Store, server: ReviewServer) -> None:
    tab.open(server.address)
    path = default_decisions(clip.path)
    path.mkdir()
    tab.keys("r")
    tab.wait_for_text("#saved", "Not saved")
    assert str(path) in tab.text("#saved")
    assert tab.page.is_visible("#save")
    path.rmdir()
    tab.page.click("#save")
    tab.wait_for_text("#saved", "Saved.")
    assert len(json.loads(path.read_text())["samples"]) == 1
    tab.complaints.clear()  # the browser tells of the answer 500


def test_a_server_that_is_gone_is_told(tab: Tab, server: ReviewServer) -> None:
    tab.open(server.address)
    tab.page.wait_for_load_state("networkidle")
    server.close()
    tab.keys("r")
    tab.wait_for_text("#saved", "Not saved: the server does not answer")
    tab.page.close()  # what it still asks for is refused
    tab.complaints.clear()


def test_a_hostile_name_of_a_sequence_stays_text(
    tab: Tab,
    serve: Callable[[Store], ReviewServer],
    make_store: Callable[..., Store],
    make_sample: Callable[..., Sample],
) -> None:
    names = {"key": f"{HOSTILE}_000001", "source_key": f"{HOSTILE}_000001", "group": HOSTILE}
    tab.open(serve(make_store([make_sample(1, offset=0, **names)])).address)
    assert tab.text("#sample-name") == names["key"]
    assert HOSTILE in (tab.page.text_content("#sample-facts") or "")
    assert tab.page.locator("img[src=x]").count() == 0
    assert tab.page.title() == "store – propagated labels"
