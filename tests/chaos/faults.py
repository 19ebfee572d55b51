"""What is done to a run, by name."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from chaos.namespaces import Namespaces
from chaos.trial import Ground, Trial
from helpers.clusters import Loopback

PAUSE = (2.0, 9.0)  # seconds


@dataclass(frozen=True)
class Fault:
    """What is done while a run works, on which cluster, and how the run may end.

    prepare: None for a Ray of the run's own. codes: of the driver's exit.
    """

    strike: Callable[[Trial], None]
    prepare: Callable[[Loopback, Ground], None] | None
    codes: tuple[int, ...] = (0,)
    in_namespaces: bool = False


def three_nodes(cluster: Loopback, _: Ground) -> None:
    nodes = [cluster.start()]
    cluster.wait(nodes[0])
    nodes += [cluster.start(), cluster.start()]
    for node in nodes[1:]:
        cluster.wait(node)


def as_written(cluster: Loopback, _: Ground) -> None:
    """The cluster of docker/README.md, without its images: tokens and words are those of the recipe.

    The job is run in the head's container there, and so it is here.
    """
    text = (Path(__file__).parents[2] / "docker" / "README.md").read_text().replace("\\\n", " ")
    recipes = re.findall(r"docker run ([^\n]*?)label-propagation ray (start [^\n]*)", text)
    assert len(recipes) == 2
    assert "--name head " in recipes[0][0]
    jobs = re.findall(r"docker (.*?) propagate run [^\n]*--address FIRST:6379", text)
    assert jobs == ["exec --interactive --tty head"]
    for options, words in recipes:
        assert re.search("--env RAY_AUTH_MODE +--env RAY_AUTH_TOKEN", options)
        cluster.wait(cluster.start(words=words.replace("FIRST:6379", cluster.address)))


def without_data(cluster: Loopback, ground: Ground) -> None:
    cluster.wait(cluster.start())
    for node in (cluster.start(), cluster.start(hidden=[ground.root])):
        cluster.wait(node)


def without_store(cluster: Loopback, _: Ground) -> None:
    cluster.wait(cluster.start())
    (cluster.folder / "out").mkdir()
    for node in (cluster.start(), cluster.start(hidden=[cluster.folder / "out"])):
        cluster.wait(node)


def head_alone(cluster: Loopback, _: Ground) -> None:
    cluster.wait(cluster.start())


def nothing(_: Trial) -> None:
    pass


def kill_worker(trial: Trial) -> None:
    for worker in trial.one_worker():
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def stop_worker(trial: Trial) -> None:
    for worker in trial.one_worker():
        stop_for_a_while(trial, worker)


def kill_server(trial: Trial, name: str, numbers: tuple[int, ...]) -> None:
    for process in trial.processes(name, numbers):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def stop_server(trial: Trial, name: str, numbers: tuple[int, ...]) -> None:
    for process in trial.processes(name, numbers):
        stop_for_a_while(trial, process)


def stop_for_a_while(trial: Trial, process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.suspend()
        time.sleep(trial.chance.uniform(*PAUSE))
        process.resume()


def kill_node(trial: Trial) -> None:
    trial.cluster.end(trial.cluster.nodes[2])


def cut_for_a_while(trial: Trial) -> None:
    assert isinstance(trial.cluster, Namespaces)
    trial.cluster.cut(2)
    time.sleep(trial.chance.uniform(*PAUSE))
    trial.cluster.cut(2, again=True)


def cut_for_good(trial: Trial) -> None:
    assert isinstance(trial.cluster, Namespaces)
    trial.cluster.cut(2)


def join_late(trial: Trial) -> None:
    trial.cluster.start()


def hide_data(trial: Trial) -> None:
    """A node loses the file system that holds the data, in the middle of its work."""
    for process in trial.processes("raylet", (2,)):
        command = ["nsenter", "--mount", "--target", str(process.pid), "mount", "-t", "tmpfs", "none"]
        subprocess.run([*command, str(trial.ground.root)], check=True)


def signal_driver(trial: Trial, signum: int) -> None:
    trial.driver.send_signal(signum)


def signal_driver_in_twos(trial: Trial) -> None:
    trial.driver.send_signal(signal.SIGHUP)
    trial.driver.send_signal(signal.SIGTERM)


def stop_driver(trial: Trial) -> None:
    stop_for_a_while(trial, psutil.Process(trial.driver.pid))


FAULTS = {
    "none, the cluster of docker/README.md": Fault(nothing, as_written, in_namespaces=True),
    "a worker killed": Fault(kill_worker, three_nodes),
    "a worker stopped for seconds": Fault(stop_worker, three_nodes),
    "a raylet killed": Fault(partial(kill_server, name="raylet", numbers=(2,)), three_nodes),
    "a raylet stopped for seconds": Fault(partial(stop_server, name="raylet", numbers=(2,)), three_nodes),
    "a node killed": Fault(kill_node, three_nodes),
    "a link cut for seconds": Fault(cut_for_a_while, three_nodes, in_namespaces=True),
    "a link cut for good": Fault(cut_for_good, three_nodes, in_namespaces=True),
    "the control store killed": Fault(partial(kill_server, name="gcs_server", numbers=(0,)), three_nodes, (0, 1)),
    "the control store stopped for seconds": Fault(partial(stop_server, name="gcs_server", numbers=(0,)), three_nodes),
    "the driver's raylet killed": Fault(partial(kill_server, name="raylet", numbers=(0,)), three_nodes, (0, 1)),
    "a node that joins late": Fault(join_late, head_alone),
    "a node without the data": Fault(nothing, without_data, in_namespaces=True),
    "a node without the store": Fault(nothing, without_store, in_namespaces=True),
    "a node that loses the data": Fault(hide_data, three_nodes, in_namespaces=True),
    "the driver killed": Fault(partial(signal_driver, signum=signal.SIGKILL), three_nodes, (-9,)),
    "the driver told to stop": Fault(partial(signal_driver, signum=signal.SIGTERM), three_nodes, (143,)),
    "the driver hung up and told to stop": Fault(signal_driver_in_twos, three_nodes, (129, 143)),
    "the driver stopped for seconds": Fault(stop_driver, three_nodes),
    "own Ray: a worker killed": Fault(kill_worker, None),
    "own Ray: its control store killed": Fault(partial(kill_server, name="gcs_server", numbers=()), None, (0, 1)),
    "own Ray: its raylet killed": Fault(partial(kill_server, name="raylet", numbers=()), None, (0, 1)),
    "own Ray: the driver killed": Fault(partial(signal_driver, signum=signal.SIGKILL), None, (-9,)),
    "own Ray: the driver told to stop": Fault(partial(signal_driver, signum=signal.SIGTERM), None, (143,)),
}
