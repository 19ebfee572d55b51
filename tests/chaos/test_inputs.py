"""Never a traceback, a hang, a death, gigabytes of memory, or other content than was written where checksums tell."""

import json
import os
import subprocess
import sys

import pytest
from chaos.inputs import BAD, Told
from helpers.drivers import IMPORT_PATH
from helpers.inputs import KINDS

NUM_INPUTS = int(os.environ.get("CHAOS_INPUTS", "2"))  # of each kind; `make faults` tries 48, 1,344 in all


@pytest.fixture(scope="module")
def told() -> dict[str, list[Told]]:
    command = [sys.executable, "-m", "chaos.inputs", str(NUM_INPUTS), "json"]
    environment = {**os.environ, "PYTHONPATH": IMPORT_PATH}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_inputs_are_read_or_refused_in_a_sentence(kind: str, told: dict[str, list[Told]]) -> None:
    bad = "\n".join(f"{number}: {outcome}: {said}" for number, outcome, said in told[kind] if outcome in BAD)
    assert not bad, f"{kind}:\n{bad}"
    assert len(told[kind]) == NUM_INPUTS
