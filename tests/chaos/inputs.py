"""A thousand damaged inputs, read as commands read them: what was written, or a sentence that names the file.

Each is read in a fork of this process, which has to have no other threads:
`PYTHONPATH=.:tests python -m chaos.inputs 48` prints the table, of 48 inputs of each kind.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.inputs import KINDS, Kind
from helpers.mutations import BYTES, TEXT, mutated

from jobs.errors import FileError, JobError
from propagate.errors import PropagateError
from sdcnet.errors import SdcnetError
from segtrain.errors import SegtrainError

TYPED = (FileError, JobError, PropagateError, SdcnetError, SegtrainError)
Told = tuple[int, str, str]  # an input's number, its outcome, and what was said
LIMIT_SECONDS, LIMIT_MEGABYTES = 30, 400  # of the processor, since a busy machine is no hang
WAIT_SECONDS = 600  # by the clock: what waits for something that does not come takes no time of the processor
HUNG = (signal.SIGPROF, signal.SIGALRM)  # which end a process by themselves
OUTCOMES = ("as written", "accepted", "sentence", "traceback", "hang", "memory", "wrong", "died")
BAD = OUTCOMES[3:]


def tried(name: str, numbers: range, folder: Path) -> list[Told]:
    """The number, outcome and message of each input, tried in processes of their own."""
    told: list[Told] = []
    kind = KINDS[name]
    good_folder = folder / "good"
    good_folder.mkdir()
    kind.make(good_folder / kind.file)
    good = (good_folder / kind.file).read_bytes()
    begun = numbers.start
    while begun < numbers.stop:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                for number in range(begun, numbers.stop):
                    place = Path(tempfile.mkdtemp(dir=folder))
                    print(json.dumps(_outcome(name, kind, number, good, place)), file=pipe, flush=True)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            told += [tuple(json.loads(line)) for line in pipe]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        begun = told[-1][0] + 1 if told else numbers.start
        if status:
            how = "hang" if -status in HUNG else "died"
            told.append((begun, how, f"exit code {status}"))
            begun += 1
    return told


def _outcome(name: str, kind: Kind, number: int, good: bytes, folder: Path) -> Told:
    kind.make(folder / kind.file)
    data = mutated(name, number, good, TEXT if kind.is_text else BYTES)
    (folder / kind.file).write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    expected = kind.read(folder.parent / "good" / kind.file) if kind.is_proven else None
    for each in HUNG:
        signal.signal(each, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)
    signal.alarm(WAIT_SECONDS)
    try:
        found = kind.read(folder / kind.file)
        outcome, said = ("as written" if data == good or kind.is_proven else "accepted"), ""
        if kind.is_proven and not _is_part(found, expected):
            outcome = "wrong"
    except TYPED as error:
        outcome, said = "sentence", str(error)
        if str(folder) not in said or len(said) > 3000:
            outcome = "traceback"
    except Exception:
        outcome, said = "traceback", traceback.format_exc()[-1500:]
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return number, "memory" if grown > LIMIT_MEGABYTES else outcome, said


def _is_part(found: Any, expected: Any) -> bool:
    """Whether what was read was written; of an archive, members may be lost."""
    return found.items() <= expected.items() if isinstance(found, dict) else found == expected


def all_tried(num_inputs: int) -> Iterator[tuple[str, list[Told]]]:
    """What became of so many inputs of each kind."""
    for name in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            yield name, tried(name, range(num_inputs), Path(folder))


def print_table(num_inputs: int) -> None:
    """A row for each kind: how many inputs came to what."""
    print(f"{'kind':15}", *(f"{outcome:>11}" for outcome in OUTCOMES), flush=True)
    total: Counter[str] = Counter()
    for name, told in all_tried(num_inputs):
        counts = Counter(outcome for _, outcome, _ in told)
        total += counts
        print(f"{name:15}", *(f"{counts[outcome]:11}" for outcome in OUTCOMES), flush=True)
        for number, outcome, said in told:
            if outcome in BAD:
                print(f"  {number} {outcome}: {said[-700:]}")
    print(f"{'all':15}", *(f"{total[outcome]:11}" for outcome in OUTCOMES))


if __name__ == "__main__":
    num_inputs, *form = sys.argv[1:]
    if form == ["json"]:
        print(json.dumps(dict(all_tried(int(num_inputs)))))
    else:
        print_table(int(num_inputs))
