"""`propagate report`: a store to the folder of a page."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from propagate.review.contents import PAGE
from propagate.review.folder import default_folder, require_own, write_folder
from propagate.review.looking import look_at
from propagate.scoring.report import Report


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """What a report says and holds: so many rows, of which some are drawn. failures: truths that cannot be used."""

    address: str
    verdict: str
    rows: int
    drawn: int
    files: int
    bytes: int
    failures: tuple[str, ...]


def write_report(
    store: Path,
    out: Path | None = None,
    *,
    truth: Path | None = None,
    against: Path | None = None,
    max_samples: int = 2000,
    decisions: Path | None = None,
    on_plan: Callable[[int], object] = lambda _: None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> ReportSummary:
    """Write the page of a store to a folder, STORE-report unless another is given.

    truth: a folder of true label maps. against: another store to compare with. max_samples: so many are drawn, the
    worst first. decisions: a file of decisions, shown on the page. on_plan hears how many steps are to come,
    on_progress how many were done since its last call.

    Raises: StoreError, DatasetError for a truth that is no folder or says two things, ReviewError.
    """
    folder = out or default_folder(store)
    require_own(folder)
    contents = look_at(
        store,
        truth=truth,
        against=against,
        decisions=decisions,
        max_drawn=max_samples,
        on_plan=on_plan,
        on_progress=on_progress,
    )
    num_files, num_bytes = write_folder(contents, folder, on_progress=on_progress)
    return ReportSummary(
        address=(folder.resolve() / PAGE).as_uri(),
        verdict=contents.survey.verdict,
        rows=len(contents.survey.rows),
        drawn=sum(contents.drawn),
        files=num_files,
        bytes=num_bytes,
        failures=told_failures(contents.survey.scores),
    )


def told_failures(scores: Report | None) -> tuple[str, ...]:
    """Truths that cannot be used, a sentence each."""
    return () if scores is None else tuple(f"{each.path}: {each.reason}" for each in scores.failures)
