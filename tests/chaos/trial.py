"""One run of `propagate run` that something happens to, and what has become of its store in the end."""

import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from helpers.clusters import Loopback
from helpers.drivers import wait_for

from jobs.ray.reaper import processes_in
from propagate.shards.manifest import load_manifest

OPTIONS = ["--frames", "8", "--clips-per-shard", "1", "--motion", "dis"]
BEGIN_SECONDS = 300  # of a busy machine, which the driver says meanwhile
END_SECONDS = 240
RAW = re.compile(r"Traceback|^\[20\d\d-|^\((?:raylet|pid|gcs)|core_worker|Fatal Python", re.MULTILINE)


@dataclass(frozen=True)
class Ground:
    """What all trials share: data and a store that was made from it in peace."""

    root: Path
    peaceful: Path
    make_cluster: Callable[[Path], Loopback]

    def contents(self) -> dict[int, str]:
        return contents(self.peaceful)


@dataclass
class Trial:
    """A run under way. `cluster` has its nodes, of which the first is the driver's; a Ray of the run's own has none."""

    ground: Ground
    folder: Path
    chance: random.Random
    cluster: Loopback
    driver: subprocess.Popen[str] = field(init=False)
    later: list[Callable[[], None]] = field(default_factory=list)  # what is still to be undone

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def command(self, *options: str) -> list[str]:
        run = [sys.executable, "-m", "propagate", "run", "--root", str(self.ground.root), "--out", str(self.out)]
        return [*run, *OPTIONS, *options]

    def one_worker(self) -> list[psutil.Process]:
        """A process that makes shards; none where the driver has ended."""
        found: list[psutil.Process] = []

        def there_is_one() -> bool:
            found[:] = self.processes("ray::UnitActor")
            return bool(found) or self.driver.poll() is not None

        wait_for(there_is_one, "a worker", BEGIN_SECONDS)
        return self.chance.sample(sorted(found, key=lambda process: process.pid), min(1, len(found)))

    def processes(self, name: str, numbers: tuple[int, ...] = (0, 1, 2)) -> list[psutil.Process]:
        """The processes of this name on these nodes, or of the driver's own Ray."""
        if self.cluster.nodes:
            return [p for number in numbers for p in self.cluster.nodes[number].processes(name)]
        found = []
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.driver.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if name in process.name() or name in " ".join(process.cmdline()[:1]):
                        found.append(process)
        return found


@dataclass(frozen=True)
class Result:
    """What has become of it.

    in_time: whether the driver still ran when the fault came. code: the driver's exit code, None where it hung. lost,
    wrong: shards.
    """

    fault: str
    number: int
    in_time: bool
    code: int | None
    expected: bool
    lost: int
    wrong: int
    raw: bool
    leftovers: int
    seconds: float
    said: str


def try_out(
    ground: Ground,
    fault: str,
    number: int,
    seed: int,
    *,
    prepare: Callable[[Loopback, Ground], None] | None,
    strike: Callable[[Trial], None],
    codes: tuple[int, ...],
) -> Result:
    """One trial: a cluster, unless `prepare` is None, a run on it, the fault while it works, and a second run to mend.

    codes: exit codes that the fault may lead to.
    """
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="c-", dir="/tmp"))  # sockets need short paths
    chance = random.Random(f"{seed} {fault} {number}")
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        cleanup.callback(_kill_all, folder)
        if prepare is None:
            cluster = Loopback(folder, {"RAY_TMPDIR": str(folder)})
            options = ["--workers", "2"]
        else:
            cluster = cleanup.enter_context(ground.make_cluster(folder))
            prepare(cluster, ground)
            options = ["--address", cluster.address]
        trial = Trial(ground, folder, chance, cluster)
        with (folder / "stderr").open("w") as stderr:
            trial.driver = cluster.driver(*trial.command(*options), output=stderr)
        cleanup.callback(trial.driver.kill)
        _wait_for_work(trial)
        time.sleep(chance.uniform(0, 1.5))
        in_time = trial.driver.poll() is None
        if in_time:
            strike(trial)
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = trial.driver.wait(END_SECONDS)
        for undo in trial.later:
            undo()
        said = (folder / "stderr").read_text()
        leftovers = len([*trial.out.glob(".shard*"), *trial.out.glob(".sign*")]) if code != -9 else 0
        trial.driver.kill()
        trial.driver.wait()
        if code != 0:
            subprocess.run(trial.command("--engine", "local"), check=False, capture_output=True, timeout=END_SECONDS)
        found, expected = contents(trial.out), ground.contents()
        same = sum(found.get(index) == content for index, content in expected.items())
        return Result(
            fault=fault,
            number=number,
            in_time=in_time,
            code=code,
            expected=code in codes,
            lost=len(expected) - len(found.keys() & expected.keys()),
            wrong=len(found) - same,
            raw=bool(RAW.search(said)),
            leftovers=leftovers,
            seconds=round(time.monotonic() - begin, 1),
            said=said[-2000:],
        )


def contents(store: Path) -> dict[int, str]:
    return {index: entry.content for index, entry in load_manifest(store).shards.items()}


def _wait_for_work(trial: Trial) -> None:
    """Until a shard is entered and the next one begun, or the driver has ended."""
    wait_for(
        lambda: trial.driver.poll() is not None or list(trial.out.glob("shard-*.h5")), "the first shard", BEGIN_SECONDS
    )


def _kill_all(folder: Path) -> None:
    """Kill whoever still writes in the folder: what a killed server of Ray's has left."""
    for pid in processes_in(str(folder)):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
