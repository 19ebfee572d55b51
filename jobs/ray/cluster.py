"""Ray: one of our own, on this machine's loopback only, or a running cluster."""

import platform
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

from jobs.errors import JobError
from jobs.ray.local import reaped_directory, start
from jobs.ray.switches import attribute, authenticated, first_line, is_loopback, loopback_only, no_messages
from jobs.signals import restored

ANSWER_SECONDS = 5.0


@contextmanager
def connected(
    address: str | None, *, num_cpus: int | None = None, instead: str = "use `--engine local`"
) -> Iterator[ModuleType]:
    """The module `ray`, connected; on leaving, what was started or joined here is shut down or left.

    address: HOST:PORT of a running cluster, or None for a Ray of our own, which never joins another one,
        whatever RAY_ADDRESS says. A connection that the caller has made is used as it is, and stays.
    num_cpus: how many workers a Ray of our own has room for; None: one per core.
    instead: what the user can do without Ray, for messages.

    Raises: JobError where Ray is not installed, does not start, or cannot be joined.
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
            directory = cleanup.enter_context(reaped_directory())
        cleanup.callback(ray.shutdown)
        set_handler = attribute(ray._private.utils, "set_sigterm_handler", lambda _: None)
        with restored(signal.SIGTERM), set_handler:  # ray.init replaces its handler, by Python's way and by C's
            if address is None:
                start(ray, num_cpus, directory, instead)
            else:
                _join(ray, address)
        yield ray


def import_ray(instead: str) -> ModuleType:
    """The module `ray`. Raises: JobError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise JobError(
            f"Ray cannot be imported ({error}); install it with `pip install ray`, or {instead}, which "
            "works in this process"
        ) from None
    return ray


def _join(ray: ModuleType, address: str) -> None:
    """Join the cluster at HOST:PORT.

    Raises: JobError: within `ANSWER_SECONDS` where nobody answers, within a minute where what answers is not Ray.
    """
    host, port = _parse_address(address)
    if not _answers(host, port):
        raise JobError(
            f"{address}: no Ray cluster answers there; start one with `ray start --head` on that machine, "
            "correct the address, or leave it out to work on this machine"
        )
    from ray._private import ray_constants

    with ExitStack() as settings:
        settings.enter_context(no_messages())
        settings.enter_context(authenticated())
        settings.enter_context(attribute(ray_constants, "NUM_REDIS_GET_RETRIES", 1))  # of 40 s each
        if is_loopback(host) and not _answers(_outward_address(), port):
            settings.enter_context(loopback_only())
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except Exception as error:
            raise JobError(
                f"{address}: the Ray cluster there cannot be joined: {first_line(error)}; it must run the "
                f"versions of this process, Ray {ray.__version__} and Python {platform.python_version()}, and "
                "have a node on this machine, in a container in the same one; if it asks for a token, set "
                "RAY_AUTH_TOKEN to the one that its nodes have"
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
