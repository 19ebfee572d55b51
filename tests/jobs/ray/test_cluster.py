"""Ray from outside: what listens, what it prints, and what is left of it. Each driver is a process of its own."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from helpers.drivers import IMPORT_PATH, PATIENCE, alive, answer, driver, family, listeners, wait_for

from jobs.errors import JobError
from jobs.ray.cluster import connected

pytestmark = pytest.mark.slow

RUN_SLOWLY = """
import ray  # long before, as a caller may have
list(run_units([Path(FOLDER)] * 2, workers.Slow, engine="ray", num_workers=2))
"""


@pytest.mark.parametrize(
    ("signum", "code", "said"),
    [(signal.SIGKILL, -9, ""), (signal.SIGTERM, 143, ""), (signal.SIGINT, -2, "KeyboardInterrupt\n")],
)
def test_a_local_ray_listens_on_loopback_alone_and_goes_with_its_driver(
    signum: int, code: int, said: str, folder: Path
) -> None:
    marks = folder / "marks"
    marks.mkdir()
    script = f"FOLDER = {str(marks)!r}" + RUN_SLOWLY
    wrong = {"RAY_ADDRESS": "127.0.0.1:9", "RAY_AUTH_MODE": "disabled"}  # where no cluster is
    with driver(script, folder, **wrong) as process:
        try:
            wait_for(lambda: len(list(marks.iterdir())) == 2 or process.poll() is not None, "workers")
            assert process.poll() is None, process.communicate()
            processes = family(process)
            assert {int(path.stem) for path in marks.iterdir()} <= {p.pid for p in processes}
            heard = listeners(processes)
            assert len(heard) >= 5, "driver, raylet, gcs_server and two workers"
            assert {address.removeprefix("::ffff:") for _, address in heard} == {"127.0.0.1"}, heard
            assert not [line for p in processes if "monitor.py" in (line := " ".join(p.cmdline()))], (
                "nothing to do here"
            )
            assert_private(folder, processes)
        finally:
            process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=PATIENCE)  # its units take half an hour
        wait_for(lambda: not alive(processes), "the end of every process")
    assert stdout == ""
    assert (process.returncode, stderr[-len(said) :] if said else stderr) == (code, said)
    assert [path.name for path in folder.iterdir()] == ["marks"], "Ray's files went with it"


def assert_private(folder: Path, processes: list[psutil.Process]) -> None:
    """Only this user gets at Ray's files, and only who holds its token at its servers."""
    (private,) = folder.glob("ray-*")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    (raylet,) = (process for process in processes if process.name() == "raylet")
    settings = raylet.environ()
    assert (settings["RAY_AUTH_MODE"], len(settings["RAY_AUTH_TOKEN"])) == ("token", 64)


def test_nothing_is_printed_and_nothing_stays(folder: Path) -> None:
    """Not even when a worker dies, of which Ray would tell on stdout; and closing early ends Ray too."""
    (folder / "once").mkdir()
    script = f"""
import signal, ray, psutil
from ray._private import services
starting, get_node = set(), services.get_node
def get_node_heard(*arguments):
    starting.add(str(signal.getsignal(signal.SIGTERM)))
    return get_node(*arguments)
services.get_node = get_node_heard
handler = signal.getsignal(signal.SIGTERM)
unit = (Path({str(folder)!r}) / "once", 2)
first = [o.attempts for o in run_units([unit], workers.DiesUntil, engine="ray", num_workers=1)]
run = run_units(range(4), workers.Square, engine="ray", num_workers=1)
next(run)
run.close()
left = [p.name() for p in psutil.Process().children(recursive=True)]
same_handler = signal.getsignal(signal.SIGTERM) is handler
print(json.dumps(dict(first=first, up=ray.is_initialized(), left=left, same_handler=same_handler,
                      starting=[*starting])))
"""
    said = answer(script, folder)
    assert said.pop("starting") == [str(signal.SIG_DFL)], "Ray sets one of its own, which would end the run silently"
    assert said == {"first": [2], "up": False, "left": [], "same_handler": True}
    assert [path.name for path in folder.iterdir()] == ["once"]


NO_RAY = """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ImportError("No module named 'ray'")
sys.meta_path.insert(0, Blocker())
records = [o.record[0] for o in run_units([1, 2], workers.Square, engine="local")]
try:
    list(run_units([1], workers.Square, engine="ray"))
except JobError as error:
    print(json.dumps(dict(records=records, error=str(error), ray="ray" in sys.modules)))
"""


def test_local_needs_no_ray_and_ray_says_how_to_get_it(folder: Path) -> None:
    said = answer(NO_RAY, folder)
    assert (said["records"], said["ray"]) == ([1, 4], False)
    assert "pip install ray" in said["error"]
    assert "--engine local" in said["error"]


@pytest.mark.parametrize("address", ["", "6379", "host", "host:", "host:ray", "host:0", "ray://host:10001"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(JobError, match="expected HOST:PORT"), connected(address):
        pass


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5eed" * 16}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_where_nobody_answers_is_said_soon() -> None:
    begin = time.monotonic()
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(JobError, match=f"^{address}: no Ray cluster answers there"), connected(address):
        pass
    assert time.monotonic() - begin < 10


@pytest.fixture
def cluster(folder: Path) -> Iterator[str]:
    """The address of a running cluster of this machine, on loopback."""
    port = free_port()
    environment: Mapping[str, str] = {
        **os.environ,
        **TOKEN,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "PYTHONPATH": IMPORT_PATH,
    }
    command = f"start --head --block --port={port} --num-cpus=2 --include-dashboard=false --disable-usage-stats"
    command += f" --node-ip-address=127.0.0.1 --object-store-memory={80 * 2**20} --temp-dir={folder}/head"
    with subprocess.Popen(
        [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *command.split()],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as head:
        assert head.stdout is not None
        try:
            for line in head.stdout:
                if "Ray runtime started" in line:
                    break
            assert head.poll() is None
            yield f"127.0.0.1:{port}"
        finally:
            processes = family(head)
            head.terminate()
            head.communicate(timeout=PATIENCE)
            for process in alive(processes):
                process.kill()


def test_a_running_cluster_is_joined_and_left_running(cluster: str, folder: Path) -> None:
    script = f"""
import ray
run = run_units(range(4), workers.Square, engine="ray", address={cluster!r})
records = sorted(outcome.record[0] for outcome in run)
left = not ray.is_initialized()
ray.__version__ = "0.1"
try:
    list(run_units([1], workers.Square, engine="ray", address={cluster!r}))
except JobError as error:
    print(json.dumps(dict(records=records, left=left, error=str(error))))
"""
    said = answer(script, folder, RAY_AUTH_TOKEN=TOKEN["RAY_AUTH_TOKEN"])
    assert (said["records"], said["left"]) == ([0, 1, 4, 9], True)
    assert "cannot be joined: Version mismatch" in said["error"]
    assert "Ray 0.1 and Python" in said["error"]
