"""The nodes of a running Ray, as its control store tells of them, and whether that still answers."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from jobs.errors import JobError

# Ray ends a driver whose control store has been silent for a minute: ours ends before, in a sentence
PULSE_SECONDS = 5.0
AGAIN_SECONDS = 1.0
SILENCE_SECONDS = 25.0
Result = TypeVar("Result")


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
        self._here: str = ray.get_runtime_context().get_node_id()
        self._question: _Call | None = None
        self._news: tuple[Node, ...] | None = None
        self._next = 0.0
        self._unanswered_since: float | None = None

    def wait(self) -> tuple[Node, ...]:
        """The nodes that are alive now. Raises: JobError where Ray has died."""
        while (nodes := self.feel()) is None:
            time.sleep(0.01)
        return nodes

    def during(self, call: Callable[[], Result]) -> Result:
        """What a call of Ray's returns that never would if Ray died meanwhile. Raises: JobError where it has died."""
        thread = _Call(call)
        while thread.is_alive():
            thread.join(0.1)
            self._news = self._answer() or self._news
        if thread.error is not None:
            raise thread.error
        return thread.result

    def feel(self) -> tuple[Node, ...] | None:
        """The nodes that are alive, if there is news of them; waits for none. Raises: JobError where Ray has died."""
        if self._news is not None:
            news, self._news = self._news, None
            return news
        return self._answer()

    def _answer(self) -> tuple[Node, ...] | None:
        now = time.monotonic()
        if self._question is None:
            if now >= self._next:
                self._question = _Call(self._ask)
                self._unanswered_since = self._unanswered_since or now
            return None
        if self._question.is_alive() or self._question.error is not None:
            if self._unanswered_since is not None and now > self._unanswered_since + SILENCE_SECONDS:
                raise JobError(
                    f"Ray itself has died: its control store has not answered for {SILENCE_SECONDS:.0f} s; what is "
                    f"finished is kept; {self._go_on}"
                )
            if not self._question.is_alive():
                self._question, self._next = None, now + AGAIN_SECONDS
            return None
        nodes: tuple[Node, ...] = self._question.result
        self._question, self._unanswered_since, self._next = None, None, now + PULSE_SECONDS
        if self._here not in {node.identity for node in nodes}:
            raise JobError(
                f"Ray itself has died: its node beside this process is gone; what is finished is kept; {self._go_on}"
            )
        return nodes

    def _ask(self) -> tuple[Node, ...]:
        return tuple(
            Node(node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})", node["Resources"])
            for node in self._ray.nodes()
            if node["Alive"]
        )


class _Call(threading.Thread):
    """Calls once; `result` is what that returned, unless `error` is what it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.result: Any = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._call()
        except Exception as error:
            self.error = error
