"""The commands that files for containers and clusters start, and that they have the options that are given."""

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def check_command(words: Sequence[str]) -> None:
    """Parse the words as the program that they name would: ours, or `ray`. Raises click's errors, and KeyError."""
    program, name, *rest = words
    if program == "ray":
        from ray.scripts.scripts import cli

        command = cli.commands[name]
    else:
        command = import_module(f"{program}.cli.main").main.commands[name]
    command.make_context(f"{program} {name}", rest)


def started_by(words: Sequence[str]) -> list[str]:
    """The words of the command that a line starts: of `docker compose … run --rm` and of `sbatch`, those behind it."""
    if "compose" in words and "--rm" in words:
        service, *rest = words[words.index("--rm") + 1 :]
        described = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"][service]
        return [*described["entrypoint"], *(rest or described["command"])]
    if "sbatch" in words:
        [place] = [number for number, word in enumerate(words) if word.endswith(".sbatch")]
        text = (DOCKER.parent / words[place]).read_text(encoding="utf-8")
        found = re.search(r"^exec docker/slurm/on_nodes.sh (\w+ \w+) ", text, re.MULTILINE)
        assert found, words[place]
        return [*found.group(1).split(), *words[place + 1 :]]
    return list(words)
