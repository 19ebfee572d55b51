"""`propagate review` over a real socket: who is let in, and what is saved."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.drivers import PATIENCE
from helpers.reviews import data_of

from propagate.errors import ReviewError
from propagate.review import decisions
from propagate.review.decisions import default_decisions, open_decisions
from propagate.review.desk import Desk
from propagate.review.looking import look_at
from propagate.review.server import ReviewServer
from propagate.shards.reader import Store

pytest.importorskip("flask", reason="the extra `review` is not installed")


class Page:
    """What a browser asks of a server; names of headers that are None are left out."""

    def __init__(self, server: ReviewServer) -> None:
        self.port, self.token = re.fullmatch(r"http://127.0.0.1:(\d+)/([\w-]{32})/", server.address).groups()  # type: ignore[union-attr]
        self.origin = f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str | None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=PATIENCE)
        sent = {"Host": f"127.0.0.1:{self.port}", **headers}
        connection.putrequest(method, path, skip_host=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name.replace("_", "-"), value)
        if body is not None and "Content_Length" not in sent:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        response.content = response.read()  # type: ignore[attr-defined]
        connection.close()
        return response

    def get(self, name: str = "", **headers: str | None) -> Any:
        return self.ask(f"/{self.token}/{name}", **headers)

    def post(self, body: bytes, **headers: str | None) -> Any:
        usual = {"Origin": self.origin, "Content_Type": "application/json"}
        return self.ask(f"/{self.token}/decisions", "POST", body, **{**usual, **headers})


@pytest.fixture
def page(clip: Store) -> Iterator[Page]:
    path = default_decisions(clip.path)
    server = ReviewServer(Desk(look_at(clip.path, saved_at=path), path))
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield Page(server)
    server.close()
    thread.join(10)
    assert not thread.is_alive()


def test_the_page_and_every_sample_are_to_be_had(page: Page, clip: Store) -> None:
    assert page.get().headers["Content-Type"] == "text/html; charset=utf-8"
    about = data_of(page.get("data/store.js").content)
    assert about["server"] == {"save": "decisions", "version": ""}
    assert about["decisions_file"] == str(default_decisions(clip.path))
    assert about["sources_drawn"] == [1, 1]
    rows = data_of(page.get("data/rows-000.js").content)
    assert rows["drawn"] == [1] * 10
    for name in (*(f"data/p-{number}.js" for number in range(10)), "data/s-0.js", "data/s-1.js"):
        answer = page.get(name)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert data_of(answer.content)["width"] == 90


@pytest.mark.parametrize(
    "name",
    [
        "data/p-10.js",
        "data/s-2.js",
        "data/rows-001.js",
        "data/p--1.js",
        "data/p-%C2%B2.js",
        "data/p-%E0%B9%93.js",
        "../store/manifest.json",
        "data/../../store/manifest.json",
        "%2e%2e/store.decisions.json",
        "decisions",
        "page/../index.html",
    ],
)
def test_there_is_nothing_else(page: Page, name: str) -> None:
    assert page.ask(f"/{page.token}/{name}").status in (404, 405)


def test_nobody_gets_in_without_the_token(page: Page) -> None:
    for path in (
        "/",
        "/data/store.js",
        "/x/",
        f"/{page.token[:-1]}/",
        f"/{page.token}x/data/store.js",
    ):
        answer = page.ask(path)
        assert answer.status == 404
        assert page.token not in answer.content.decode() + str(answer.headers)
    assert page.ask("/x/decisions", "POST", b"{}", Origin=page.origin).status == 404


def test_another_host_or_origin_is_refused_whatever_it_asks_for(page: Page) -> None:
    for host in (
        None,
        "",
        "evil.example",
        f"evil.example:{page.port}",
        "127.0.0.1",
        f"127.0.0.1:{page.port}.evil.example",
        "127.0.0.1:1",
    ):
        assert page.get("data/store.js", Host=host).status in (400, 403), host
    for origin in (
        "http://evil.example",
        "null",
        "",
        f"https://127.0.0.1:{page.port}",
        f"http://localhost:{page.port}",
    ):
        assert page.get("data/store.js", Origin=origin).status == 403, origin
        assert page.post(b"{}", Origin=origin).status == 403, origin
    assert page.post(b"{}", Origin=None).status == 403
    assert page.get(Host=f"localhost:{page.port}", Origin=f"http://localhost:{page.port}").status == 200
    assert page.get(Origin=page.origin).status == 200


def test_answers_are_for_the_page_alone(page: Page) -> None:
    for answer in (page.get(), page.get("none"), page.ask("/")):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert page.ask(f"/{page.token}/decisions", "OPTIONS", Origin="http://evil.example").status == 403


def test_decisions_are_saved_and_shown_again(page: Page, clip: Store, decided: Callable[..., Path]) -> None:
    answer = page.post(decided(1, 7).read_bytes())
    assert (answer.status, json.loads(answer.content)["saved"]) == (200, 2)
    saved = open_decisions(default_decisions(clip.path), clip)
    assert len(saved.rejected) == 2
    assert data_of(page.get("data/store.js").content)["decisions"] == json.loads(json.dumps(saved.to_json()))
    assert page.post(decided(1).read_bytes()).status == 200
    assert len(open_decisions(default_decisions(clip.path), clip).rejected) == 1


def test_another_window_does_not_lose_what_this_one_saved(
    page: Page, clip: Store, decided: Callable[..., Path]
) -> None:
    first = json.loads(page.post(decided(1, 7).read_bytes(), If_Match="").content)["version"]
    path = default_decisions(clip.path)
    before = path.read_bytes()
    answer = page.post(decided(2).read_bytes(), If_Match="")
    assert (answer.status, answer.content.decode()) == (
        409,
        "not saved: others were saved since, from another window or program; reload the page\n",
    )
    assert path.read_bytes() == before
    assert data_of(page.get("data/store.js").content)["server"]["version"] == first
    assert page.post(decided(2).read_bytes(), If_Match=first).status == 200
    path.write_bytes(decided(1, 2, 3).read_bytes())  # as another program does
    assert len(data_of(page.get("data/store.js").content)["decisions"]["samples"]) == 3
    path.write_text("{}")
    assert page.get("data/store.js").status == 500
    path.unlink()
    assert data_of(page.get("data/store.js").content)["decisions"] is None


def test_what_is_no_decision_is_refused_and_the_file_stays(
    page: Page, clip: Store, decided: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    page.post(decided(1).read_bytes())
    before = default_decisions(clip.path).read_bytes()
    for body, said in (
        (b"", "no file of decisions"),
        (b"\xff", "no file of decisions"),
        (decided(1, digest="0" * 64).read_bytes(), "is not what was decided on"),
        (decided(1, store="0" * 64).read_bytes(), "decisions on another store"),
    ):
        answer = page.post(body)
        assert (answer.status, said in answer.content.decode()) == (400, True), answer.content
    assert page.post(decided(1).read_bytes(), Content_Type="text/plain").status == 415
    assert page.post(decided(1).read_bytes(), Content_Type="application/x-www-form-urlencoded").status == 415
    assert page.post(decided(1).read_bytes(), Content_Length="99999999999").status == 413

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decisions, "write_whole", refuse)
    answer = page.post(decided(7).read_bytes())
    assert (answer.status, "cannot be written (No space left" in answer.content.decode()) == (500, True)
    assert default_decisions(clip.path).read_bytes() == before


def test_a_damaged_sample_is_a_sentence_and_the_others_are_there(page: Page, clip: Store) -> None:
    file = clip.path / "shard-00000.h5"
    size = file.stat().st_size
    data = bytearray(file.read_bytes())
    place = data.index(b"\x89PNG\r\n\x1a\n")
    data[place : place + 60_000] = bytes(60_000)
    assert len(data) == size
    file.write_bytes(data)
    answers = [page.get(f"data/p-{number}.js").status for number in range(10)]
    assert 500 in answers
    assert page.get(f"data/p-{answers.index(500)}.js").content[-1:] == b"\n"


def test_a_port_that_is_taken_is_named(page: Page, clip: Store, tmp_path: Path) -> None:
    desk = Desk(look_at(clip.path), tmp_path / "decisions.json")
    with pytest.raises(ReviewError, match=rf"port {page.port}: cannot be listened on \(Address already in use\)"):
        ReviewServer(desk, int(page.port))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_a_line_and_their_exit_code(clip: Store, signum: int) -> None:
    command = [sys.executable, "-m", "propagate", "review", str(clip.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        os.kill(process.pid, signum)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signum
    assert said.splitlines()[-1] == f"Ended. Decisions, if any, are in {default_decisions(clip.path)}."
    assert "Traceback" not in said


def test_without_flask_the_extra_is_named(
    clip: Store, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    monkeypatch.setitem(sys.modules, "flask", None)
    done = cli("review", clip.path)
    assert done.returncode == 1
    assert "pip install 'label-propagation[review]'" in done.stderr


def test_decisions_of_another_store_are_neither_shown_nor_overwritten(
    clip: Store, decided: Callable[..., Path], cli: Callable[..., Any]
) -> None:
    path = default_decisions(clip.path)
    decided(1, store="0" * 64).rename(path)
    done = cli("review", clip.path)
    assert done.returncode == 1
    assert f"{path}: decisions on another store" in done.stderr


def test_decisions_on_what_was_made_anew_do_not_keep_the_store_from_being_looked_at(
    clip: Store, decided: Callable[..., Path]
) -> None:
    """The page counts them, and leaves them out."""
    path = default_decisions(clip.path)
    decided(1, digest="0" * 64).rename(path)
    desk = Desk(look_at(clip.path, decisions=path, saved_at=path), path)
    shown = desk.file("data/store.js")
    assert shown is not None
    assert [each["digest"] for each in data_of(shown)["decisions"]["samples"]] == ["0" * 64]
    with pytest.raises(ReviewError, match="is not what was decided on"):
        desk.parse(path.read_bytes())
