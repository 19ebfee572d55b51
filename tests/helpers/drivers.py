"""Drivers in processes of their own, and what can be seen of them from outside."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PATIENCE = 120  # seconds, for what takes a moment: all tests may run at a time, on a machine that is slow
TESTS = Path(__file__).resolve().parents[1]
IMPORT_PATH = os.pathsep.join(map(str, (TESTS.parent, TESTS)))  # of the packages, and of these helpers
PRELUDE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what they start behind them ignore it
import json, sys
from pathlib import Path
from helpers import job_workers as workers
from helpers import train_functions
from jobs.errors import JobError
from jobs.crew.launch import launch
from jobs.pool.run import run_units
"""


def driver(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code],
        env={**os.environ, "PYTHONPATH": IMPORT_PATH, "RAY_TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(code: str, folder: Path, **environment: str) -> dict:
    """What a driver prints, which must be one JSON object and nothing else on either stream."""
    with driver(code, folder, **environment) as process:
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, ""), stderr
    return json.loads(stdout)


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def listeners(processes: list[psutil.Process]) -> list[tuple[str, str]]:
    """(process, address) of whatever accepts TCP connections or datagrams."""
    return [
        (process.name(), connection.laddr.ip)
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN or (connection.type == socket.SOCK_DGRAM and not connection.raddr)
    ]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
