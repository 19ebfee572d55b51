"""A Ray of our own: for this process alone, on this machine's loopback, in a folder that nobody else can enter."""

import logging
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from jobs.errors import JobError
from jobs.ray import reaper
from jobs.ray.switches import attribute, authenticated, environment, first_line, is_loopback, loopback_only, no_messages

OBJECT_STORE_BYTES = 80 * 2**20  # near Ray's minimum: units and records are small
PATIENCE_SECONDS = 30.0
START_SECONDS = 300  # each step of the start has a fraction of it by default, too little where many processes wait
LOCAL_SETTINGS = {
    # nothing is reported to Ray's makers
    "RAY_USAGE_STATS_ENABLED": "0",
    # workers start when they are hired: otherwise Ray starts an idle process for each core besides
    "RAY_prestart_worker_first_driver": "0",
    # one heap per process: in those that glibc gives to further threads, such as an actor's, large arrays leave gaps
    "MALLOC_ARENA_MAX": "1",
    "RAY_gcs_server_port_wait_time_s": str(START_SECONDS),
    "RAY_raylet_start_wait_time_s": str(START_SECONDS),
    "RAY_worker_register_timeout_seconds": str(START_SECONDS),
    "RAY_agent_register_timeout_ms": str(1000 * START_SECONDS),
}

logger = logging.getLogger(__name__)


def start(ray: ModuleType, num_cpus: int | None, directory: str, instead: str) -> None:
    """Start a Ray of our own, its files in the directory. Raises: JobError."""
    try:
        with (
            loopback_only(),
            no_messages(),
            environment(LOCAL_SETTINGS),
            authenticated(secrets.token_hex(32)),
            _patient(PATIENCE_SECONDS),
            _without_monitors(),
        ):
            ray.init(
                address="local",
                num_cpus=num_cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                _temp_dir=directory,
            )
    except Exception as error:
        raise JobError(
            f"Ray did not start on this machine: {first_line(error)}; {instead}, which works without it"
        ) from error
    if not is_loopback(node := ray.util.get_node_ip_address()):
        raise JobError(
            f"Ray {ray.__version__} listens on {node}, not on loopback alone as it was told; install another "
            f"version of Ray, or {instead}"
        )


@contextmanager
def reaped_directory() -> Iterator[str]:
    """A directory for Ray's files, in one that no other user can enter; at the end it goes, and whoever writes there.

    Ray opens its own directory to everybody. See `jobs.ray.reaper`; a session of its own keeps that from what ends a
    whole process group.
    """
    # under Ray's own default, not the system's: the paths of its sockets may have 107 bytes at most
    # resolved, as the reaper finds it in /proc
    directory = tempfile.mkdtemp(prefix="ray-", dir=os.path.realpath(os.environ.get("RAY_TMPDIR", "/tmp")))
    command = [sys.executable, "-I", "-S", reaper.__file__, directory]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield str(Path(directory, "r"))
    finally:
        process.communicate()


@contextmanager
def _without_monitors() -> Iterator[None]:
    """Start neither the process that reads all logs, which nobody is told of, nor the one that asks for more nodes."""
    from ray._private.node import Node

    with attribute(Node, "start_log_monitor", lambda _: None), attribute(Node, "start_monitor", lambda _: None):
        yield


@contextmanager
def _patient(seconds: float) -> Iterator[None]:
    """While Ray starts: say what is waited for where that takes longer, and wait for its node as for all the rest."""
    from ray._private import services

    message = "Ray has not started for %.0f s, and is waited for: is this machine busy?"
    reminder = threading.Timer(seconds, logger.warning, (message, seconds))
    reminder.daemon = True
    reminder.start()
    try:
        with attribute(services, "get_node", _insisting(services.get_node)):
            yield
    finally:
        reminder.cancel()


def _insisting(get_node: Callable[..., Any]) -> Callable[..., Any]:
    """Asks for a node until it is there: RuntimeError means that it is not yet."""
    deadline = time.monotonic() + START_SECONDS

    def insist(*arguments: Any) -> Any:
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    return insist
