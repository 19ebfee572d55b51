"""Clusters whose nodes have network and mount namespaces of their own, on a bridge that nothing else is at.

They are as far apart as machines are, but for the disk: links can be cut, and folders hidden. Ray's own folder is each
node's alone, as in a container, so that a driver works only where it is started inside its node.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.clusters import Loopback

HIDE = 'while [ "$1" != -- ]; do mount -t tmpfs none "$1" || exit 1; shift; done; shift; exec "$@"'


def namespaces_can_be_had() -> bool:
    """Whether this process may make network and mount namespaces."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare"))):
        return False
    name = f"probe-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


@dataclass
class Namespaces(Loopback):
    """A cluster of nodes at 10.77.0.1, 10.77.0.2, … Needs root."""

    def __post_init__(self) -> None:
        self._port = 6379
        self._name = f"chaos{secrets.token_hex(3)}"
        self._made: set[int] = set()
        _ip("netns", "add", self._name)
        _ip("-n", self._name, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._name, "link", "set", "bridge", "up")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for number in self._made:
            _ip("netns", "del", self._space(number))
        _ip("netns", "del", self._name)

    def cut(self, number: int, *, again: bool = False) -> None:
        """Cut a node's link, or join it again."""
        _ip("-n", self._name, "link", "set", f"to{number}", "up" if again else "down")

    def _ip(self, number: int) -> str:
        return f"10.77.0.{number + 1}"

    def _space(self, number: int) -> str:
        return f"{self._name}-{number}"

    def _inside(self, number: int, hidden: Sequence[Path]) -> list[str]:
        if number not in self._made:
            self._make(number)
        own = self.folder / "ray"
        own.mkdir(exist_ok=True)
        apart = ["ip", "netns", "exec", self._space(number), "unshare", "--mount", "--propagation", "private"]
        return [*apart, "sh", "-c", HIDE, "hide", str(own), *map(str, hidden), "--"]

    def _beside_head(self) -> list[str]:
        """As `docker exec` does: what is named here runs in its own place, and is this process's child."""
        return ["nsenter", "--target", str(self.nodes[0].process.pid), "--net", "--mount"]

    def _make(self, number: int) -> None:
        space = self._space(number)
        _ip("netns", "add", space)
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", self._name, "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", self._name, "link", "set", f"to{number}", "master", "bridge", "up")
        _ip("-n", space, "address", "add", f"{self._ip(number)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "route", "add", "default", "via", self._ip(number))
        self._made.add(number)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
