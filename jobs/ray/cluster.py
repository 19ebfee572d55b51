"""Ray: one of our own, on this machine's loopback only, or a running cluster."""

import ipaddress
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType

from jobs.errors import JobError
from jobs.ray import reaper
from jobs.signals import restored

OBJECT_STORE_BYTES = 80 * 2**20  # near Ray's minimum: units and records are small
ANSWER_SECONDS = 5.0
LOCAL_SETTINGS = {
    # nothing is reported to Ray's makers
    "RAY_USAGE_STATS_ENABLED": "0",
    # workers start when they are hired: otherwise Ray starts an idle process for each core besides
    "RAY_prestart_worker_first_driver": "0",
    # one heap per process: in those that glibc gives to further threads, such as an actor's, large arrays leave gaps
    "MALLOC_ARENA_MAX": "1",
}


@contextmanager
def connected(
    address: str | None, *, num_cpus: int | None = None, instead: str = "use `--engine local`"
) -> Iterator[ModuleType]:
    """The module `ray`, connected; on leaving, what was started or joined here is shut down or left.

    address: HOST:PORT of a running cluster, or None for a Ray of our own, which never joins another one,
        whatever RAY_ADDRESS says. A connection that the caller has made is used as it is, and stays.
    num_cpus: how many workers a Ray of our own has room for; None: one per core.
    instead: what the user can do without Ray, for messages.

    Raises JobError where Ray is not installed, does not start, or cannot be joined.
    """
    ray = import_ray(instead)
    if ray.is_initialized():
        if address is not None:
            raise JobError(
                f"{address}: this process is connected to a Ray cluster already; leave the address out to work "
                "there, or call ray.shutdown() first"
            )
        yield ray
        return
    with ExitStack() as cleanup:
        if address is None:
            directory = cleanup.enter_context(_reaped_directory())
        cleanup.callback(ray.shutdown)
        with restored(signal.SIGTERM):  # ray.init replaces its handler
            if address is None:
                _start(ray, num_cpus, directory, instead)
            else:
                _join(ray, address)
        yield ray


def import_ray(instead: str) -> ModuleType:
    """The module `ray`. Raises JobError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise JobError(
            f"Ray cannot be imported ({error}); install it with `pip install ray`, or {instead}, which "
            "works in this process"
        ) from None
    return ray


def _start(ray: ModuleType, num_cpus: int | None, directory: str, instead: str) -> None:
    """Start a Ray of our own, its files in the directory. Raises JobError."""
    try:
        with _loopback_only(), _no_messages(), _environment(LOCAL_SETTINGS):
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
            f"Ray did not start on this machine: {_first_line(error)}; {instead}, which works without it"
        ) from error
    if not is_loopback(node := ray.util.get_node_ip_address()):
        raise JobError(
            f"Ray {ray.__version__} listens on {node}, not on loopback alone as it was told; install another "
            f"version of Ray, or {instead}"
        )


def _join(ray: ModuleType, address: str) -> None:
    """Join the cluster at HOST:PORT.

    Raises JobError: within `ANSWER_SECONDS` where nobody answers, within a minute where what answers is not Ray.
    """
    host, port = _parse_address(address)
    if not _answers(host, port):
        raise JobError(
            f"{address}: no Ray cluster answers there; start one with `ray start --head` on that machine, "
            "correct the address, or leave it out to work on this machine"
        )
    from ray._private import ray_constants

    with ExitStack() as settings:
        settings.enter_context(_no_messages())
        settings.enter_context(_attribute(ray_constants, "NUM_REDIS_GET_RETRIES", 1))  # of 40 s each
        if is_loopback(host) and not _answers(_outward_address(), port):
            settings.enter_context(_loopback_only())
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except Exception as error:
            raise JobError(
                f"{address}: the Ray cluster there cannot be joined: {_first_line(error)}; it must run the "
                f"versions of this process, Ray {ray.__version__} and Python {platform.python_version()}, and "
                "have a node on this machine; if it asks for a token, set RAY_AUTH_MODE=token"
            ) from error


def _parse_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise JobError(
            f"{address}: not the address of a Ray cluster; expected HOST:PORT, as `ray start --head` prints "
            "it (usually port 6379)"
        )
    return host.strip("[]"), int(port)


def _answers(host: str, port: int) -> bool:
    # Ray itself would try for minutes, and could not be interrupted
    try:
        socket.create_connection((host, port), timeout=ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def _outward_address() -> str:
    """The address that Ray puts in place of a loopback address."""
    from ray._private import services

    return str(services.get_node_ip_address())


def is_loopback(host: str) -> bool:
    """Whether what listens at this address can be reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Keep Ray on 127.0.0.1.

    The argument `_node_ip_address="127.0.0.1"` does not: Ray replaces a loopback address by the machine's
    outward one, and all its servers listen there. What does is the setting that Ray has on macOS and Windows,
    where clusters are off (RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0). Ray reads that variable once, on import, which
    may be long past: hence the constant that it sets.
    """
    from ray._private import ray_constants

    with _attribute(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield


@contextmanager
def _no_messages() -> Iterator[None]:
    """Keep Ray from printing to stdout, which belongs to the caller.

    It has a thread print there when a worker dies, whatever the log level; those deaths are ours to report.
    """
    from ray._private import worker

    with _attribute(worker, "listen_error_messages", lambda *_: None):
        yield


@contextmanager
def _attribute(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def _reaped_directory() -> Iterator[str]:
    """A directory for Ray's files that no other user can enter; at the end it goes, and whoever writes there.

    See `jobs.ray.reaper`; a session of its own keeps that from what ends a whole process group.
    """
    # under Ray's own default, not the system's: the paths of its sockets may have 107 bytes at most
    directory = tempfile.mkdtemp(prefix="ray-", dir=os.environ.get("RAY_TMPDIR", "/tmp"))
    command = [sys.executable, "-I", "-S", reaper.__file__, directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield directory  # then the pipe is closed, and the reaper waited for


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """The environment that Ray's processes inherit: what the user has set for himself stays."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".: ") if lines else type(error).__name__
