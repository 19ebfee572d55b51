"""Fixtures that several folders share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock
from helpers.drivers import IMPORT_PATH, PATIENCE
from hypothesis import settings

from jobs.ray.cluster import connected
from propagate.cli.main import main
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.synth.write import write_dataset

REPOSITORY = Path(__file__).resolve().parent.parent
# Ray's workers are nice, and would wait for all tests beside theirs
os.environ.setdefault("RAY_worker_niceness", "0")


NUM_THREADS = torch.get_num_threads()

# four processes share two cores: how long an example takes says nothing of what it tests
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that are slow come first: a process that met one at the end would be alone with it."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    """A run in this process takes threads for its networks, which would wait for each other in all tests after it."""
    yield
    torch.set_num_threads(NUM_THREADS)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data, which is no part of the repository."""
    folder = Path(os.environ.get("PROPAGATE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; PROPAGATE_TEST_DATA says where it is")
    return folder


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set: three snippets of 128x256, frames 12 to 24, with all truth. Not to be changed.

    It is made once for all processes that test at the same time.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "street"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            part = root.with_name("street.part")  # whoever comes next finds all of it, or none
            shutil.rmtree(part, ignore_errors=True)
            write_dataset(part, num_snippets=3, size=(128, 256), length=25, around=7, seed=5)
            part.rename(root)
    return root


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A Ray of this process, with two cores, which finds the tests' helpers. Whoever asks for Ray gets this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", IMPORT_PATH, prepend=os.pathsep)
        with connected(None, num_cpus=2):
            yield


@pytest.fixture
def cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `propagate` in this process, quickly; what a process of its own would print and return."""

    def call(*args: object) -> subprocess.CompletedProcess[str]:
        result = CliRunner().invoke(main, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(args, result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def shell() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `propagate` as users do, in a process of its own."""

    def call(*args: object, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "propagate", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    return call


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    """Samples with label ids of CamVid, all different from one another, the same for the same number."""

    def make(number: int, *, size: tuple[int, int] = (70, 90), raw: bool = False, **fields: object) -> Sample:
        random = np.random.default_rng(number)
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        values: dict[str, object] = {
            "key": f"seq_{number:06d}",
            "source_key": "seq_000000",
            "group": "seq",
            "offset": number,
            "pairing": "label",
            "origin": "propagated" if fields.get("offset", number) else "annotated",
            "image": pixels if raw else encode_png(pixels),
            "label": random.integers(0, 12, size, np.uint8),
            "confidence": random.integers(0, 16, size, np.uint8),
            "reason": random.integers(0, 4, size, np.uint8),
        }
        return Sample(**{**values, **fields})  # type: ignore[arg-type]

    return make
