"""The way into a command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.drivers import PATIENCE


def entered(folder: Path, main: str) -> "subprocess.CompletedProcess[str]":
    """A program whose command line is that module."""
    (folder / "program" / "cli").mkdir(parents=True)
    (folder / "program" / "cli" / "main.py").write_text(main)
    script = f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom jobs.console.entry import enter\nenter('program')"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_an_interruption_of_its_import_ends_it_with_a_line(tmp_path: Path) -> None:
    done = entered(tmp_path, "import signal\ntry: signal.raise_signal(signal.SIGINT)\nexcept BaseException: pass")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_then_signals_are_what_they_were(tmp_path: Path) -> None:
    main = "import signal\ndef main(prog_name): print(prog_name, signal.getsignal(signal.SIGINT).__name__)"
    assert entered(tmp_path, main).stdout == "program default_int_handler\n"


@pytest.mark.parametrize("program", ["propagate", "sdcnet", "segtrain"])
def test_nothing_heavy_is_imported_before(program: str) -> None:
    script = f"import sys, {program}.__main__\nprint({{'click', 'numpy', 'yaml'}} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout == "set()\n"
