"""Units on a cluster of two nodes with cores, and one without, not all of which can do the work."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from helpers.clusters import TOKEN, Loopback
from helpers.drivers import PATIENCE, driver, wait_for

from jobs.pool.queue import Queue, Turn

pytestmark = pytest.mark.slow

ON_CLUSTER = """
from jobs.ray.cluster import connected

def on_cluster(units, make_worker, gate=None, **settings):
    barred, progress, staff = [], [], []
    settings |= dict(on_progress=progress.append, on_started=staff.extend)
    def bar(sentence):
        barred.append(sentence)
        gate.touch()
    try:
        outcomes = list(run_units(units, make_worker, engine="ray", on_barred=bar, **settings))
    except JobError as error:
        return dict(error=str(error), barred=barred)
    staff = [(node.host.split()[-1], node.num_workers, node.share.cores, node.share.gpus) for node in staff]
    return dict(records=sorted(o.record for o in outcomes), barred=barred, progress=progress, staff=staff)

def seeing(name, **nodes):
    gate = folder / name
    return on_cluster(range(6), lambda share: workers.Seeing(gate, **nodes), gate)
"""

SOON_MISSED = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "1",
}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path, for Ray's sockets."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_nodes_that_join_late_and_nodes_that_cannot_do_the_work(short: Path) -> None:
    marks = short / "marks"
    marks.mkdir()
    with Loopback(short) as cluster:
        cluster.wait(cluster.start(NODE="first"))
        script = f"""
from jobs.ray import nodes
nodes.PULSE_SECONDS = 0.5
folder = Path({str(short)!r})
with connected({cluster.address!r}):
    late = on_cluster([(folder / "marks", 2)] * 2, workers.Meets)
    blind = seeing("blind", blind="second")
    both_blind = seeing("both_blind", blind="first second")
    ill = seeing("ill", ill="second")
    dim = seeing("dim", dim="second")
    both_dim = seeing("both_dim", dim="first second")
    (folder / "gpus").mkdir()
    gpus = on_cluster([(folder / "gpus", 2)] * 2, workers.Meets, gpus=True, room=lambda machine: 2 * machine.gpus)
print(json.dumps(dict(late=late, blind=blind, both_blind=both_blind, ill=ill, dim=dim, both_dim=both_dim, gpus=gpus)))
"""
        with driver(ON_CLUSTER + script, short, **TOKEN) as process:
            wait_for(lambda: list(marks.iterdir()) or process.poll() is not None, "the first worker")
            cluster.wait(cluster.start(NODE="second", num_cpus=1, num_gpus=1))
            cluster.wait(cluster.start(num_cpus=0))
            stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, "")
    said = json.loads(stdout)
    assert said["late"]["records"] == ["first", "second"]
    assert said["blind"]["records"] == ["first"] * 6
    [barred] = said["blind"]["barred"]
    assert barred.endswith("(127.0.0.3): the data set is not there")
    assert said["both_blind"]["error"].startswith("no node can do the work: ")
    assert said["both_blind"]["error"].count("the data set is not there") == 2
    assert said["ill"]["records"] == ["first"] * 6
    [barred] = said["ill"]["barred"]
    assert "(127.0.0.3): workers failed to start 3 times (Worker unexpectedly exits" in barred
    assert said["dim"]["records"] == ["first"] * 6, "what the second node doubts, the first one makes again"
    assert sum(said["dim"]["progress"]) == 6, "what counts for nothing is taken back"
    assert len(said["both_dim"]["records"]) == 6, "doubted twice, it counts"
    assert sum(said["both_dim"]["progress"]) == 6
    assert said["late"]["staff"] == [["(127.0.0.2)", 1, 1, 0]]
    assert said["gpus"]["staff"] == [["(127.0.0.3)", 2, 1, 0.5]]
    assert said["gpus"]["records"] == ["second", "second"], "where GPUs are, those without have no place"


def test_a_node_that_dies_while_more_workers_start_on_it_than_may_die(short: Path) -> None:
    marks = short / "marks"
    marks.mkdir()
    with Loopback(short, SOON_MISSED) as cluster:
        cluster.wait(cluster.start(num_cpus=0))
        cluster.wait(dies := cluster.start(NODE="dies", num_cpus=4))
        script = f"""
from functools import partial
from jobs.ray import nodes
nodes.PULSE_SECONDS = 10.0  # so that workers are hired where Ray knows already that the node is gone
with connected({cluster.address!r}):
    print(json.dumps(on_cluster(range(6), partial(workers.StartsOn, Path({str(marks)!r}), "lives"))))
"""
        with driver(ON_CLUSTER + script, short, **TOKEN) as process:
            wait_for(lambda: process.poll() is not None or len(list(marks.iterdir())) == 4, "four workers that start")
            [raylet] = dies.processes("raylet")
            raylet.kill()
            cluster.wait(cluster.start(NODE="lives"))
            stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, "")
    assert json.loads(stdout).get("records") == ["lives"] * 6, stdout


def test_a_run_ends_when_the_node_beside_its_driver_dies(short: Path) -> None:
    with Loopback(short, SOON_MISSED) as cluster:
        cluster.wait(head := cluster.start(num_cpus=0))
        cluster.wait(cluster.start(num_cpus=1))
        script = f"""
with connected({cluster.address!r}):
    print(json.dumps(on_cluster([(Path({str(short / "marks")!r}), 2)], workers.Meets)))
"""
        (short / "marks").mkdir()
        with driver(ON_CLUSTER + script, short, **TOKEN) as process:
            wait_for(lambda: process.poll() is not None or list((short / "marks").iterdir()), "the first unit")
            [raylet] = head.processes("raylet")
            psutil.Process(head.process.pid).suspend()  # it would end the control store too
            raylet.kill()
            stdout, stderr = process.communicate(timeout=PATIENCE)
            psutil.Process(head.process.pid).resume()
    assert (process.returncode, stderr) == (0, "")
    assert "its node beside this process is gone" in json.loads(stdout)["error"]


def test_a_node_where_something_is_not_installed_gets_no_work(short: Path) -> None:
    with Loopback(short) as cluster:
        cluster.wait(cluster.start(NODE="first"))
        cluster.wait(cluster.start(PYTHONPATH=""))
        script = f"""
folder = Path({str(short)!r})
with connected({cluster.address!r}):
    print(json.dumps(seeing("gate")))
"""
        with driver(ON_CLUSTER + script, short, **TOKEN) as process:
            stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, "")
    said = json.loads(stdout)
    assert said.get("records") == ["first"] * 6, said
    [barred] = said["barred"]
    assert "(127.0.0.3): a worker failed: ModuleNotFoundError: No module named 'helpers'; install there" in barred


def test_turns_go_where_they_are_wanted() -> None:
    queue = Queue(2)
    first = queue.take("a")
    assert first == Turn(0)
    queue.again(Turn(0, doubted=True, avoid="a"))
    assert queue.useless() == set(), "the other turn may be had there"
    assert queue.take("a") == Turn(1)
    assert (queue.take("a"), queue.useless()) == (None, {"a"})
    queue.settle(["a", "b"])
    assert queue.take("a") is None
    queue.settle(["a"])
    assert queue.take("a") == Turn(0, doubted=True)
    assert (len(queue), queue.useless()) == (0, set())
