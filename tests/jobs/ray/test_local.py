import logging
import time

import pytest
import ray._private.services as services

from jobs.ray import local


def test_a_start_that_takes_long_is_waited_for_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[str, str]] = []

    def get_node(address: str, node: str) -> dict[str, str]:
        asked.append((address, node))
        if len(asked) < 3:
            raise RuntimeError("no such node")
        return {"node": node}

    monkeypatch.setattr(services, "get_node", get_node)
    with caplog.at_level(logging.WARNING), local._patient(0.05):
        assert services.get_node("127.0.0.1:6379", "ab") == {"node": "ab"}
    assert services.get_node is get_node
    assert asked == [("127.0.0.1:6379", "ab")] * 3
    [record] = caplog.records
    assert record.getMessage().startswith("Ray has not started for 0 s, and is waited for")
    time.sleep(0.1)
    assert len(caplog.records) == 1


def test_a_quick_start_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with local._patient(0.5):
        pass
    time.sleep(0.7)
    assert not caplog.records
