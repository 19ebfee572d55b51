"""Which nodes of a Ray get how many workers."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from jobs.pool.actor import gpu_bytes
from jobs.pool.places import Machine, Room, Share, Staff, allot, rooms, share
from jobs.ray.nodes import Node, Pulse


class Staffing:
    """What the nodes have, which of them get no work, and so how many workers each is to have.

    room, takes_gpus, num_workers: as `jobs.pool.run.run_units` takes them.
    """

    def __init__(self, ray: ModuleType, pulse: Pulse, *, room: Room, takes_gpus: bool, num_workers: int | None) -> None:
        self._ray, self._pulse = ray, pulse
        self._room, self._takes_gpus, self._num_workers = room, takes_gpus, num_workers
        self._machines: dict[str, Machine] = {}
        self._hosts: dict[str, str] = {}
        self._asked: dict[Any, str] = {}
        self._resting: set[str] = set()
        self.barred: dict[str, str] = {}

    @property
    def questions(self) -> Collection[Any]:
        """References to what nodes were asked; once one is ready it goes to `hear`."""
        return self._asked.keys()

    def survey(self, nodes: Sequence[Node]) -> None:
        """Learn what the nodes have; how much memory their GPUs have, they are asked themselves."""
        self._resting.clear()
        self._hosts = {node.identity: node.host for node in nodes}
        self._machines = {node: machine for node, machine in self._machines.items() if node in self._hosts}
        self._asked = {reference: node for reference, node in self._asked.items() if node in self._hosts}
        for node in nodes:
            if node.identity in self._machines:
                continue
            gpus = int(node.resources.get("GPU", 0)) if self._takes_gpus else 0
            self._machines[node.identity] = Machine(int(node.resources.get("CPU", 0)), gpus)
            if gpus:
                question = self._ray.remote(gpu_bytes).options(
                    num_cpus=0, num_gpus=1e-4, max_retries=0, label_selector=only(node.identity)
                )
                self._asked[self._pulse.during(question.remote)] = node.identity

    def hear(self, reference: Any) -> None:
        """Take the answer to one of the `questions`; where Ray lost it, the next survey asks again."""
        node = self._asked.pop(reference)
        try:
            self._machines[node] = replace(self._machines[node], gpu_bytes=self._ray.get(reference))
        except self._ray.exceptions.RayTaskError:
            pass  # then it is not known
        except self._ray.exceptions.RayError:
            del self._machines[node]

    def is_there(self, node: str) -> bool:
        return node in self._hosts

    def rest(self, node: str) -> bool:
        """Let nobody start on a node before the next survey; returns whether nobody was to already."""
        rested = node in self._resting
        self._resting.add(node)
        return rested

    def bar(self, node: str, lack: str) -> str | None:
        """Give a node no more work; returns what to say of it, unless that was said."""
        if node in self.barred:
            return None
        self.barred[node] = f"{self._hosts.get(node, node)}: {lack}"
        return self.barred[node]

    def places(self) -> set[str]:
        """The nodes where a worker has a place."""
        return set(self._rooms())

    def allotted(self, useless: Collection[str]) -> dict[str, int]:
        """How many workers each node is to have, but those where there is nothing to do."""
        return allot({node: room for node, room in self._rooms().items() if node not in useless}, self._num_workers)

    def vacancy(self, allotted: dict[str, int], staff: Counter[str]) -> tuple[str, Share] | None:
        """Where the next worker is to sit, beside the `staff` that there is, and what he has there: where most is free.

        None where all places are taken, or not known yet, or their nodes rest.
        """
        not_now = self._resting.union(self._asked.values())
        free = [node for node in allotted if staff[node] < allotted[node] and node not in not_now]
        if not free:
            return None
        node = min(free, key=lambda node: staff[node] / allotted[node])
        return node, share(self._machines[node], allotted[node])

    def told(self, allotted: dict[str, int]) -> list[Staff]:
        """The same for people."""
        return [Staff(self._hosts[node], count, share(self._machines[node], count)) for node, count in allotted.items()]

    def _rooms(self) -> dict[str, int]:
        return rooms({node: machine for node, machine in self._machines.items() if node not in self.barred}, self._room)


def only(node: str) -> dict[str, str]:
    """The labels that keep Ray to one node."""
    return {"ray.io/node-id": node}
