"""Imports run one way, Ray stays inside `jobs`, nothing heavy happens at import, and what there is gets installed."""

import ast
import configparser
import functools
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "jobs": set(),
    "sdcnet": {"jobs"},
    "propagate": {"jobs", "sdcnet"},
    "segtrain": {"jobs", "sdcnet", "propagate"},
}

# The rooms of each package, from the ground up: a room may import those before it, and none after it.
ROOMS = {
    "jobs": "errors registry differences files image_limit yaml_files timing ahead signals console pages ray pool "
    "crew training",
    "sdcnet": "errors geometry flow_files frames flow_truth scores networks losses motion evaluate fit cli __main__",
    "propagate": "errors data datasets synth shards carry memory torch_dataset job scoring fit review export formats "
    "cli __main__",
    "segtrain": "errors models checkpoints data losses inference_settings inference trained evaluation prediction "
    "video pseudo refine caffe config page fit video_fit cli __main__",
}


def modules(package: str) -> list[str]:
    files = sorted((REPOSITORY / package).rglob("*.py"))
    return [".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__") for file in files]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_fresh_interpreter_imports_only_what_lies_below(package: str) -> None:
    script = (
        f"import importlib, sys\nfor name in {modules(package)!r}: importlib.import_module(name)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    loaded = set(process.stdout.split())
    assert package in loaded
    assert not (set(MAY_IMPORT) - MAY_IMPORT[package] - {package}) & loaded
    assert "ray" not in loaded


@functools.cache
def imports() -> dict[str, set[str]]:
    """Which of our modules each of them names in an import, wherever in it: also in functions, and for types alone."""
    known = {name for package in MAY_IMPORT for name in modules(package)}
    found: dict[str, set[str]] = {}
    for name in known:
        file = REPOSITORY.joinpath(*name.split("."))
        path = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        names = found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names} & known
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= (inner & known) or ({node.module} & known)
    return found


def test_no_circle_between_modules() -> None:
    """A module that can be reached from itself lies in a circle."""
    named = imports()
    for start in named:
        reached, waiting = set(), list(named[start])
        while waiting:
            module = waiting.pop()
            if module not in reached:
                reached.add(module)
                waiting += named[module]
        assert start not in reached


@pytest.mark.parametrize("package", ROOMS)
def test_no_room_imports_one_above_it(package: str) -> None:
    order = ROOMS[package].split()
    for module, names in imports().items():
        for name in names:
            if module.startswith(f"{package}.") and name.startswith(f"{package}."):
                upper, lower = (each.split(".")[1] for each in (module, name))
                assert order.index(lower) <= order.index(upper), f"{module} imports {name}"


def test_the_command_line_does_not_wait_for_torch() -> None:
    script = "import sys, propagate.cli.main; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert process.stdout == "False\n"


def test_ray_is_imported_inside_jobs_alone_and_never_at_the_top() -> None:
    for package in MAY_IMPORT:
        for file in (REPOSITORY / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            everywhere = {node for node in ast.walk(tree) if imports_ray(node)}
            top = {node for node in tree.body if imports_ray(node)}
            assert not top, file
            assert package == "jobs" or not everywhere, file


def imports_ray(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == "ray" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ray"


def test_the_local_engine_works_where_ray_is_not_installed(street: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['ray'] = None\n"
        "from propagate.cli.main import main\n"
        f"main(['run', '--root', {str(street)!r}, '--out', {str(tmp_path / 'o')!r}, '--frames', '1', "
        "'--limit', '1', '--engine', 'local'])"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "3 samples written" in process.stdout


def test_tests_lie_in_the_room_of_what_they_test() -> None:
    """A folder of tests has the name of the package's folder, so that both are found together."""
    for package in MAY_IMPORT:
        for file in (REPOSITORY / "tests" / package).rglob("test_*.py"):
            room = file.parent.relative_to(REPOSITORY / "tests")
            assert (REPOSITORY / room / "__init__.py").is_file(), f"{file}: there is no {room}"


def test_every_package_is_installed_here_and_in_the_container() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    folders = {file.parent for package in MAY_IMPORT for file in (REPOSITORY / package).rglob("__init__.py")}
    packages = {".".join(folder.relative_to(REPOSITORY).parts) for folder in folders}
    assert set(setup["options"]["packages"].split()) == packages
    steps = (REPOSITORY / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert {f"COPY {package} {package}" for package in MAY_IMPORT} <= set(steps)
    sent = (REPOSITORY / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{package}" for package in MAY_IMPORT} <= set(sent)


def test_every_table_recipe_and_template_is_installed() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    installed = {
        file
        for package, patterns in setup["options.package_data"].items()
        for pattern in patterns.split(", ")
        for file in REPOSITORY.joinpath(*package.split(".")).glob(pattern)
    }
    files = {file for package in MAY_IMPORT for file in (REPOSITORY / package).rglob("*.*") if file.is_file()}
    assert {file for file in files if file.suffix not in (".py", ".pyc")} == installed
