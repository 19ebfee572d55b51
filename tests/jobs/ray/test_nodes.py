import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.errors import JobError
from jobs.ray import nodes
from jobs.ray.nodes import Node, Pulse


def row(identity: str, *, alive: bool = True) -> dict[str, Any]:
    return {
        "NodeID": identity,
        "NodeManagerHostname": "host",
        "NodeManagerAddress": "10.0.0.7",
        "Resources": {"CPU": 2.0},
        "Alive": alive,
    }


def pulse(ask: Any) -> Pulse:
    here = SimpleNamespace(get_node_id=lambda: "a")
    return Pulse(cast(Any, SimpleNamespace(nodes=ask, get_runtime_context=lambda: here)), "run it again")


def test_nodes_that_are_alive_are_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "PULSE_SECONDS", 0.2)
    felt = pulse(lambda: [row("a"), row("b", alive=False)])
    assert felt.wait() == (Node("a", "host (10.0.0.7)", {"CPU": 2.0}),)
    assert felt.feel() is None, "not asked again at once"
    assert felt.wait()


def test_a_control_store_that_never_answers_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "SILENCE_SECONDS", 0.2)
    begin = time.monotonic()
    with pytest.raises(JobError, match=r"control store has not answered for 0 s; what is finished is kept; run it"):
        pulse(threading.Event().wait).wait()
    assert time.monotonic() - begin < 5


def test_a_control_store_that_dies_is_missed_during_calls_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(nodes, "PULSE_SECONDS", 0.0)
    answers = [[row("a")], [row("a")]]
    felt = pulse(lambda: answers.pop() if answers else threading.Event().wait())
    begin = time.monotonic()
    with pytest.raises(JobError, match="control store has not answered"):
        felt.during(threading.Event().wait)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("others", [[], [row("c")]])
def test_a_ray_without_the_node_beside_the_driver_is_dead(others: list[dict[str, Any]]) -> None:
    with pytest.raises(JobError, match="its node beside this process is gone"):
        pulse(lambda: [row("a", alive=False), *others]).wait()


def test_an_error_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "AGAIN_SECONDS", 0.0)
    errors = [RuntimeError("unavailable"), None]

    def ask() -> list[dict[str, Any]]:
        if error := errors.pop(0):
            raise error
        return [row("a")]

    assert pulse(ask).wait()
