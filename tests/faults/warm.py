"""Commands in forks of one process that has imported everything: a tenth of a second each instead of three seconds.

Run with the shim preloaded. Each line of standard input is a JSON object: `program` and `args` of a command; `folder`,
`kind`, `number` and `error` of the system call in it that is to fail (number 0: none). Each line of standard output
answers with `code`, `said` (what the command printed, on either stream) and `counts` (system calls, by kind).
"""

import ctypes
import fcntl
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

KINDS = ("write", "sync", "rename", "open", "truncate", "unlink", "mkdir")
WARM = (
    *("propagate.job.run", "propagate.shards.verify", "sdcnet.fit.training", "sdcnet.motion.classical"),
    *("segtrain.fit.training", "segtrain.models.mobilenet", "segtrain.page.page", "sdcnet.networks.predictor"),
    *("propagate.datasets.cityscapes", "PIL.PngImagePlugin", "torch._dynamo"),  # trainings take a second for the last
)
LIMIT_SECONDS = 60
CRASHED, LOCKED, HUNG = (
    99,
    98,
    124,
)  # exit codes of no command: it raised, it left the folder locked, it had to be ended


def main() -> None:
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    programs = {name: importlib.import_module(f"{name}.cli.main").main for name in ("propagate", "sdcnet", "segtrain")}
    for name in WARM:
        importlib.import_module(name)
    import torch  # after the commands, as they do

    torch.set_num_threads(1)
    gc.freeze()  # forks would copy every page that the collection at their end looks at
    for line in sys.stdin:
        task = json.loads(line)
        folder = task["folder"]
        shim.fault_plan(folder.encode(), KINDS.index(task["kind"]), ctypes.c_long(task["number"]), task["error"])
        with tempfile.TemporaryFile() as output:
            child = os.fork()
            if child == 0:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                code = _run(programs[task["program"]], task["args"])
                shim.fault_pause(1)
                code = LOCKED if _is_locked(Path(folder)) else code
                shim.fault_pause(0)
                sys.exit(code)
            code = _wait(child)
            output.seek(0)
            said = output.read().decode()
        counts = {kind: shim.fault_count(number) for number, kind in enumerate(KINDS)}
        print(json.dumps({"code": code, "said": said, "counts": counts}), flush=True)


def _run(program: Any, args: list[str]) -> Any:
    try:
        program(args)
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return CRASHED
    return 0


def _is_locked(folder: Path) -> bool:
    """Whether the command, which is over, still holds its folder."""
    if not (folder / ".lock").exists():
        return False
    with (folder / ".lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _wait(child: int) -> int:
    """The exit code, or minus the signal that ended it."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG


if __name__ == "__main__":
    main()
