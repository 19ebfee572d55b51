"""Words are used as docs/glossary.md says: one word, one meaning."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("jobs", "sdcnet", "propagate", "segtrain")
FILES = sorted(file for package in PACKAGES for file in (REPOSITORY / package).rglob("*.py"))
GLOSSARY = REPOSITORY / "docs" / "glossary.md"
DOCUMENTS = [REPOSITORY / "README.md", *sorted({*GLOSSARY.parent.glob("*.md")} - {GLOSSARY})]
RETIRED = {
    r"gone on with": "resumed, continued",
    r"\b[Aa]s of `": "as `x` says, as in `x`",
    r"which \w+ has not\b": "which it does not have",
    r"\breport: Callable": "on_progress",
    r"\bRaises [A-Z]": "Raises: NameOfError",
}
# The same thing of several commands, or in the files of weights of both kinds of networks.
OF_SEVERAL = {"Batch", "Checkpoint", "Description", "EvaluateConfig", "FitConfig", "FitSummary", "Job"}


@pytest.mark.parametrize("pattern", RETIRED)
def test_words_that_are_retired_stay_so(pattern: str) -> None:
    found = [
        f"{file.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for file in (*FILES, *DOCUMENTS)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not found, f"write: {RETIRED[pattern]}"


def test_no_two_public_classes_have_one_name() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for file in FILES:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(str(file.relative_to(REPOSITORY)))
    assert {name: where for name, where in places.items() if len(where) > 1 and name not in OF_SEVERAL} == {}


def test_the_glossary_has_no_word_twice() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    words = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(words) > 30
    assert len(set(words)) == len(words)
