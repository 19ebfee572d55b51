"""Runs that things happen to, many times, and a table of what became of them: `make chaos`.

Results are kept in OUT/trials.jsonl: run again, it goes on where it was; OUT/table.md is the table.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from chaos.faults import FAULTS
from chaos.namespaces import Namespaces, namespaces_can_be_had
from chaos.trial import OPTIONS, Ground, Result, try_out
from helpers.clusters import Loopback

SNIPPETS, COPIES = 4, 6
COLUMNS = (
    "fault",
    "tried",
    "in time",
    "survived",
    "by a second run",
    "lost",
    "wrong",
    "raw lines",
    "hung",
    "ended otherwise",
    "leftovers",
)


@click.command()
@click.option("--rounds", default=1, show_default=True, help="Trials of each fault.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("chaos"), show_default=True)
@click.option("--only", multiple=True, help="Faults whose names hold this; repeatable.")
def main(rounds: int, seed: int, out: Path, only: tuple[str, ...]) -> None:
    """Try every fault so many times, and print what became of the stores."""
    separate = namespaces_can_be_had()
    if not separate:
        click.echo("no namespaces can be had here (root and `ip` are needed): several nodes on loopback instead")
    ground = make_ground(out.resolve(), Namespaces if separate else Loopback)
    done = results(out)
    for number in range(rounds):
        for name, fault in FAULTS.items():
            is_wanted = not only or any(part in name for part in only)
            if not is_wanted or (fault.in_namespaces and not separate) or (name, number) in done:
                continue
            result = try_out(
                ground,
                name,
                number,
                seed,
                prepare=fault.prepare,
                strike=fault.strike,
                codes=fault.codes,
            )
            with (out / "trials.jsonl").open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            done[name, number] = result
            click.echo(f"{name}, {number}: {described(result)}")
    text = table(list(done.values()))
    (out / "table.md").write_text(text)
    click.echo(text)
    sys.exit(any(is_bad(result) for result in done.values()))


def make_ground(out: Path, make_cluster: type[Loopback]) -> Ground:
    ground = Ground(out / "street", out / "peaceful", make_cluster)
    propagate = [sys.executable, "-m", "propagate"]
    if not ground.root.exists():
        synth = ["synth", str(ground.root), "--snippets", str(SNIPPETS), "--size", "64x128", "--around", OPTIONS[1]]
        subprocess.run([*propagate, *synth], check=True, stderr=subprocess.DEVNULL)
        for path in [*ground.root.rglob("*.png")]:
            city, number, rest = path.name.split("_", 2)
            for copy in range(1, COPIES):
                path.with_name(f"{city}_{int(number) + copy * SNIPPETS:06d}_{rest}").hardlink_to(path)
    run = ["run", "--root", str(ground.root), "--out", str(ground.peaceful), *OPTIONS, "--engine", "local"]
    subprocess.run([*propagate, *run], check=True)
    return ground


def results(out: Path) -> dict[tuple[str, int], Result]:
    file = out / "trials.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = [Result(**json.loads(line)) for line in lines]
    return {(result.fault, result.number): result for result in found}


def is_bad(result: Result) -> bool:
    return bool(result.lost or result.wrong or result.raw or result.leftovers or not result.expected)


def described(result: Result) -> str:
    state = f"exit code {result.code}, {result.lost} lost, {result.wrong} wrong, {result.seconds} s"
    return f"{state}\n{result.said}" if is_bad(result) else state


def table(found: Sequence[Result]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for name in FAULTS:
        of_it = [result for result in found if result.fault == name]
        if of_it:
            counts = (
                len(of_it),
                sum(result.in_time for result in of_it),
                sum(not result.lost and not result.wrong for result in of_it),
                sum(not result.lost and not result.wrong and result.code != 0 for result in of_it),
                sum(result.lost for result in of_it),
                sum(result.wrong for result in of_it),
                sum(result.raw for result in of_it),
                sum(result.code is None for result in of_it),
                sum(not result.expected for result in of_it),
                sum(result.leftovers for result in of_it),
            )
            lines.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
