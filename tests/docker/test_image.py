"""What docker/Dockerfile says; that it builds and works is for docker/check_image.sh, which `.ci/run` runs."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.documents import REPOSITORY

from propagate import __version__

DOCKERFILE = (REPOSITORY / "docker" / "Dockerfile").read_text(encoding="utf-8")
SCRIPTS = sorted(
    path
    for folder in ("docker", "packaging", ".ci")
    for path in (REPOSITORY / folder).rglob("*")
    if path.is_file() and path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash")
)


def instructions(name: str) -> list[str]:
    """What follows each instruction of that name, in the last stage, on one line."""
    last = DOCKERFILE.replace("\\\n", " ").rpartition("\nFROM ")[2]
    return re.findall(rf"^{name} (.+)$", last, re.MULTILINE)


def test_nothing_is_copied_into_the_image_but_the_wheel_is_installed() -> None:
    assert instructions("COPY") == []
    [installs, _] = instructions("RUN")
    assert "--mount=type=bind,from=wheel" in installs


def test_what_is_copied_is_let_in_and_holds_every_package() -> None:
    ignored, *let_in, caches = (REPOSITORY / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    copied = [word for words in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for word in words.split()]
    assert (ignored, caches) == ("*", "**/__pycache__")
    assert sorted(f"!{name}" for name in copied) == sorted(let_in)
    assert all((REPOSITORY / name).exists() for name in copied)
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    assert {name.partition(".")[0] for name in setup["options"]["packages"].split()} <= set(copied)


def test_the_constraints_are_those_of_the_tests_but_for_the_torch_of_the_base() -> None:
    pattern = re.search(r"grep --invert-match '(.+)' constraints.txt", DOCKERFILE)
    assert pattern
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition("=")[0] for line in lines if re.search(pattern.group(1), line)] == ["torch"]


def test_whoever_runs_it_is_not_root() -> None:
    [user] = instructions("USER")
    number, _, _ = user.partition(":")
    assert int(number) > 0, "Kubernetes believes numbers only"


def test_its_label_has_the_version() -> None:
    assert f'org.opencontainers.image.version="{__version__}"' in DOCKERFILE


def test_there_are_scripts_to_look_at() -> None:
    assert {path.name for path in SCRIPTS} >= {"run", "check_image.sh", "on_nodes.sh", "propagate.sbatch"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_free_of_what_shellcheck_finds(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck")
    done = subprocess.run(["shellcheck", "--severity=warning", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "path", [path for path in (REPOSITORY / "docker").rglob("*") if path.is_file()], ids=lambda path: path.name
)
def test_packages_come_from_where_the_machine_has_its_own_from(path: Path) -> None:
    """No registry, mirror or proxy is named, but that of the published base, which has no host in its name."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!url|127\.0\.0\.1)|index-url|deb\.debian|pypi", text.replace('"http://$url"', ""))
