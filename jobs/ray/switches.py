"""What Ray is told by other ways than arguments, since there are none for it."""

import ipaddress
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def is_loopback(host: str) -> bool:
    """Whether what listens at this address can be reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def loopback_only() -> Iterator[None]:
    """Keep Ray on 127.0.0.1.

    The argument `_node_ip_address="127.0.0.1"` does not: Ray replaces a loopback address by the machine's
    outward one, and all its servers listen there. What does is the setting that Ray has on macOS and Windows,
    where clusters are off (RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0). Ray reads that variable once, on import, which
    may be long past: hence the constant that it sets.
    """
    from ray._private import ray_constants

    with attribute(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield


@contextmanager
def no_messages() -> Iterator[None]:
    """Keep Ray from printing to stdout, which belongs to the caller.

    It has a thread print there when a worker dies, whatever the log level; those deaths are ours to report.
    """
    from ray._private import worker

    with attribute(worker, "listen_error_messages", lambda *_: None):
        yield


@contextmanager
def attribute(module: ModuleType | type, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """The environment that Ray's processes inherit: what the user has set for himself stays."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".: ") if lines else type(error).__name__


@contextmanager
def authenticated(token: str | None = None) -> Iterator[None]:
    """Have Ray take and give a token: this one, or else the one that the user keeps for it, if there is one.

    Ray does the latter by itself, but not where an address is given. It reads all that once, and keeps it; so it is
    told to read again, and what it has read then holds for longer than this context.
    """
    from ray import _raylet

    raylet: Any = _raylet
    loader = raylet.AuthenticationTokenLoader.instance()
    loader.reset_cache()
    if token is not None:
        settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    elif "RAY_AUTH_MODE" not in os.environ and loader.has_token(ignore_auth_mode=True):
        settings = {"RAY_AUTH_MODE": "token"}
    else:
        settings = {}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    raylet.Config.initialize("")
    loader.reset_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
