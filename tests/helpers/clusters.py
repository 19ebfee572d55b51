"""Ray clusters of several nodes on this machine."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from helpers.drivers import IMPORT_PATH, alive, wait_for

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # other machines can reach Ray's ports
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Node:
    """A node, by its number: 0 is the head. `process` is `ray start --block`, which its servers and workers go with."""

    number: int
    num_cpus: int
    num_gpus: int
    hidden: tuple[Path, ...]
    words: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Those of this node's processes whose names hold this, the youngest last."""
        children: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        found = []
        for process in children:
            with suppress(psutil.Error):
                if name in process.name() or name in " ".join(process.cmdline()[:1]):
                    found.append(process)
        return found


@dataclass
class Loopback:
    """A cluster of nodes at 127.0.0.2, 127.0.0.3, … `folder` is for Ray's files; its path has to be short."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._port = free_port()

    @property
    def address(self) -> str:
        return f"{self._ip(0)}:{self._port}"

    def __enter__(self) -> "Loopback":
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            self.end(node)

    def start(
        self,
        *,
        num_cpus: int = 1,
        num_gpus: int = 0,
        hidden: Sequence[Path] = (),
        words: str = "",
        **environment: str,
    ) -> Node:
        """Start a node, the first of all as the head; returns at once.

        num_gpus: that Ray is told of, whether there are any. hidden: folders that are empty for what runs on it.
        words: of `ray start`, in place of the usual ones.
        """
        node = Node(
            len(self.nodes),
            num_cpus,
            num_gpus,
            tuple(hidden),
            words,
            environment,
            self.folder / f"node-{len(self.nodes)}.txt",
        )
        node.process = self._ray(node)
        self.nodes.append(node)
        return node

    def _ray(self, node: Node) -> subprocess.Popen[bytes]:
        head = f"--head --port={self._port} --include-dashboard=false"
        place = head if node.number == 0 else f"--address={self.address}"
        usual = f"start --block {place} --node-ip-address={self._ip(node.number)}"
        command = [
            *self._inside(node.number, node.hidden),
            *RAY,
            *f"{node.words or usual} --num-cpus={node.num_cpus} --num-gpus={node.num_gpus}".split(),
            *f"--object-store-memory={80 * 2**20} --disable-usage-stats --temp-dir={self.folder}/ray".split(),
            *["--no-monitor", "--include-log-monitor=false"],  # which nobody here asks for anything
        ]
        environment = self._environment() | {"RAY_prestart_worker_first_driver": "0"} | node.environment
        with node.log.open("wb") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def wait(self, node: Node) -> None:
        """Wait until a node has joined; it is started again where half a minute was too little for Ray."""

        def joined() -> bool:
            if node.process.poll() is not None:
                node.process = self._ray(node)
            return "Ray runtime started" in node.log.read_text(errors="replace")

        wait_for(joined, f"node {node.number}")

    def driver(self, *command: str, output: Any = subprocess.PIPE) -> subprocess.Popen[str]:
        """A program on the head's machine, and in its container."""
        return subprocess.Popen(
            [*self._beside_head(), *command], env=self._environment(), stdout=output, stderr=output, text=True
        )

    def end(self, node: Node) -> None:
        """Kill what is left of a node."""
        processes = node.processes()
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        node.process.kill()
        node.process.wait()
        wait_for(lambda: not alive(processes), "the end of a node")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **TOKEN, "PYTHONPATH": IMPORT_PATH, **self.environment}

    def _ip(self, number: int) -> str:
        return f"127.0.0.{number + 2}"  # of 127.0.0.1 Ray makes the machine's outward address

    def _inside(self, number: int, hidden: Sequence[Path]) -> list[str]:  # noqa: ARG002
        assert not hidden, "folders can be hidden in namespaces alone"
        return []

    def _beside_head(self) -> list[str]:
        return []
