"""The fenced blocks of Markdown files, and what comes of doing what they say, one after the other in one folder.

An HTML comment before a block says what the block is, where that isn't a command: `<!-- file: layout.yaml -->`, a file
that the text tells the reader to write; `<!-- not run: reason -->`, what no test can do; `<!-- printed -->`, what the
block before it prints.
"""

import multiprocessing
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from helpers.services import started_by

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for path in REPOSITORY.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)
)
_COMMENT = re.compile(r"<!-- (?:(?P<kind>file|not run): (?P<rest>.+)|(?P<printed>printed)) -->")
_COMMANDS = ("propagate", "sdcnet", "segtrain")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: where it begins, its language as after the fence, and what a comment before it says."""

    path: Path
    line: int
    language: str
    text: str
    file: str | None
    not_run: str | None
    printed: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(REPOSITORY)}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a Markdown file, in their order. A fence that ends none is a failure."""
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    comment: re.Match[str] | None = None
    for number, line in lines:
        if not line.startswith("```"):
            comment = _COMMENT.fullmatch(line) or (comment if not line else None)
            continue
        text = []
        for _, inner in lines:
            if inner == "```":
                break
            text.append(inner)
        else:
            raise AssertionError(f"{path}:{number}: a block without an end")
        said = comment.groupdict() if comment else {}
        yield Block(
            path=path,
            line=number,
            language=line.removeprefix("```"),
            text="\n".join(text) + "\n",
            file=said.get("rest") if said.get("kind") == "file" else None,
            not_run=said.get("rest") if said.get("kind") == "not run" else None,
            printed=bool(said.get("printed")),
        )
        comment = None


def follow(document: Iterable[Block], folder: Path, data: Path) -> None:
    """Write the files that the blocks hold, run what can be run, and compare what is printed; /data/ is `data`."""
    environment = _environment(folder)
    printed = ""
    for block in document:
        text = block.text.replace("/data/", f"{data}/")
        if block.printed:
            assert printed.strip() == text.strip(), f"{block}: prints something else"
        elif block.file is not None:
            (folder / block.file).write_text(text, encoding="utf-8")
        elif block.not_run is None and block.language in ("sh", "python"):
            done = (_shell if block.language == "sh" else _python)(text, folder, environment)
            assert done.returncode == 0, f"{block}:\n{text}\n{done.stdout}\n{done.stderr}"
            printed = done.stdout


def _shell(text: str, folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    command = ["bash", "-euo", "pipefail", "-c", text]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _python(text: str, folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """A program of its own, but in a fork of this process: an interpreter that imports PyTorch takes two seconds."""
    said = [folder / ".programs" / name for name in ("stdout", "stderr")]
    process = multiprocessing.get_context("fork").Process(target=_main, args=(text, folder, environment, said))
    process.start()
    process.join()
    assert process.exitcode is not None
    return subprocess.CompletedProcess(text, process.exitcode, *(path.read_text(encoding="utf-8") for path in said))


def _main(text: str, folder: Path, environment: Mapping[str, str], said: Iterable[Path]) -> None:
    for descriptor, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = (open(descriptor, "w", closefd=False) for descriptor in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, "")
    torch.set_num_threads(1)  # a fork has lost the other threads, and would wait for them
    exec(compile(text, "block", "exec"), {"__name__": "__main__"})


def command_lines(block: Block) -> Iterator[list[str]]:
    """The words of each of our commands in a shell block, but for those that a program of one's own runs."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = started_by(shlex.split(line.removesuffix(" &"), comments=True))
        starts = [place for place, word in enumerate(words) if word in _COMMANDS]
        if starts and "mine.py" not in words and words[starts[0] :][1:2] not in ([], ["--help"]):
            yield words[starts[0] :]


def _environment(folder: Path) -> dict[str, str]:
    """Our commands as this interpreter has them, whatever is installed; nothing is kept in the user's cache."""
    programs = folder / ".programs"
    programs.mkdir()
    for name in ("python", *_COMMANDS):
        module = "" if name == "python" else f" -m {name}"
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "XDG_CACHE_HOME": str(folder / ".cache"),
    }
