"""The nodes of a running Ray, as its control store tells of them, and whether that still answers."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from jobs.errors import JobError

# Ray ends a driver whose control store has been silent for a minute: ours ends before, in a sentence
PULSE_SECONDS = 5.0
AGAIN_SECONDS = 1.0
SILENCE_SECONDS = 25.0


@dataclass(frozen=True)
class Node:
    """A node that is alive: Ray's name of it, people's, and what it has of CPU, GPU and so on."""

    identity: str
    host: str
    resources: Mapping[str, float]


class Pulse:
    """Asks Ray every few seconds which nodes are alive; in a thread, since a dead control store never answers.

    go_on: what the user can do where Ray has died, for messages.
    """

    def __init__(self, ray: ModuleType, go_on: str) -> None:
        self._ray, self._go_on = ray, go_on
        self._question: _Question | None = None
        self._next = 0.0
        self._unanswered_since: float | None = None

    def wait(self) -> tuple[Node, ...]:
        """The nodes that are alive now. Raises JobError where Ray has died."""
        while (nodes := self.feel()) is None:
            time.sleep(0.01)
        return nodes

    def feel(self) -> tuple[Node, ...] | None:
        """The nodes that are alive, if there is news of them; waits for none. Raises JobError where Ray has died."""
        now = time.monotonic()
        if self._question is None:
            if now >= self._next:
                self._question = _Question(self._ray)
                self._unanswered_since = self._unanswered_since or now
            return None
        if self._question.is_alive() or self._question.nodes is None:
            if self._unanswered_since is not None and now > self._unanswered_since + SILENCE_SECONDS:
                raise JobError(
                    f"Ray itself has died: its control store has not answered for {SILENCE_SECONDS:.0f} s; what is "
                    f"finished is kept; {self._go_on}"
                )
            if not self._question.is_alive():
                self._question, self._next = None, now + AGAIN_SECONDS
            return None
        nodes = self._question.nodes
        self._question, self._unanswered_since, self._next = None, None, now + PULSE_SECONDS
        if not nodes:
            raise JobError(f"Ray itself has died: none of its nodes is alive; what is finished is kept; {self._go_on}")
        return nodes


class _Question(threading.Thread):
    """Asks once; without an answer `nodes` stays None."""

    def __init__(self, ray: ModuleType) -> None:
        super().__init__(daemon=True)
        self._ray = ray
        self.nodes: tuple[Node, ...] | None = None
        self.start()

    def run(self) -> None:
        try:
            found: list[dict[str, Any]] = self._ray.nodes()
        except Exception:  # of many types, none of which is documented: all of them mean that there was no answer
            return
        self.nodes = tuple(
            Node(node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})", node["Resources"])
            for node in found
            if node["Alive"]
        )
