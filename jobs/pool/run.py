"""Run units of work on workers: Ray actors, or this process alone."""

from collections.abc import Callable, Generator, Sequence

from jobs.pool.places import Room, Share, Staff, one_per_core, own_cores
from jobs.pool.units import Doubtful, Outcome, Record, Unit, Worker, attempt_name
from jobs.signals import checked

ENGINES = ("ray", "local")


def run_units(
    units: Sequence[Unit],
    make_worker: Callable[[Share], Worker[Unit, Record]],
    *,
    engine: str,
    num_workers: int | None = None,
    address: str | None = None,
    room: Room = one_per_core,
    gpus: bool = False,
    max_attempts: int = 3,
    on_progress: Callable[[int], None] = lambda _: None,
    on_started: Callable[[Sequence[Staff]], None] = lambda _: None,
    on_barred: Callable[[str], None] = lambda _: None,
) -> Generator[Outcome[Record], None, None]:
    """An outcome per unit, in the order in which they end. Closing the generator early stops the workers.

    Each worker calls `make_worker` once, with what it has of its node, and then takes one unit at a time, the next only
    when it is free. A unit whose worker process dies is tried again in a new one, `max_attempts` times in all; then its
    outcome carries an error. What a worker raises is raised here, as the same type, after the others were stopped; so
    is what `make_worker` raises, but for UnfitNodeError: it bars the worker's node, and the others go on. Nodes that
    join late get workers while units wait.

    engine: 'ray', or 'local': one worker, in this process, whatever `num_workers` says.
    num_workers: in all, in proportion to what nodes have room for; None: as many as that. There are never more than
        units.
    room: how many workers a node has room for.
    gpus: whether workers take GPUs: then those of a node share its GPUs, and nodes without any get no work, unless
        there is no GPU at all.
    address: HOST:PORT of a running Ray cluster; None starts Ray on this machine, listening on loopback alone.
    on_progress: takes what workers report, within a second; what a dead worker had reported is taken back, as
        a negative number, so that the sum is right in the end.
    on_started: called once, when the first worker is made, with who is at work on which node, or will be (nodes may
        still come); with nobody where the work is done in this process, or there is none.
    on_barred: takes a sentence, which begins with the node's name, on each node that gets no work.

    Raises: JobError where the engine does not start, dies, or has no node that can do the work, and ValueError for
    arguments out of range.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is '{engine}', expected one of {', '.join(ENGINES)}")
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers is {num_workers}, expected at least 1")
    if max_attempts < 1:
        raise ValueError(f"max_attempts is {max_attempts}, expected at least 1")
    if engine == "local":
        if address is not None:
            raise ValueError(f"engine 'local' works in this process, it cannot join {address}; leave one out")
        return _run_here(units, make_worker, on_progress, on_started)

    from jobs.pool.actors import run_on_ray

    return run_on_ray(
        units,
        make_worker,
        num_workers=num_workers,
        address=address,
        room=room,
        gpus=gpus,
        max_attempts=max_attempts,
        on_progress=on_progress,
        on_started=on_started,
        on_barred=on_barred,
    )


def _run_here(
    units: Sequence[Unit],
    make_worker: Callable[[Share], Worker[Unit, Record]],
    on_progress: Callable[[int], None],
    on_started: Callable[[Sequence[Staff]], None],
) -> Generator[Outcome[Record], None, None]:
    with checked(on_progress) as progressed:
        if not units:
            on_started(())
            return
        worker = make_worker(Share(own_cores()))
        on_started(())
        for index, unit in enumerate(units):
            record = worker(unit, attempt_name(), progressed)
            yield Outcome(index, record.record if isinstance(record, Doubtful) else record, None, 1)
