"""A store opened to be looked at: decisions and truth found, samples counted, and those chosen that are drawn."""

from collections.abc import Callable
from pathlib import Path

from propagate.review.contents import Contents
from propagate.review.decisions import read_decisions_on
from propagate.review.folder import worst
from propagate.review.survey import Counterparts, survey
from propagate.scoring.evaluate import find_truths
from propagate.scoring.truth import truth_directory
from propagate.shards.reader import open_store


def look_at(
    store: Path,
    *,
    truth: Path | None = None,
    against: Path | None = None,
    decisions: Path | None = None,
    saved_at: Path | None = None,
    max_drawn: int | None = None,
    on_plan: Callable[[int], object] = lambda _: None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Contents:
    """One pass over a store -> the files of its page.

    truth: a folder of true label maps. against: another store to compare with. decisions: a file of those taken before,
    of which the page leaves out, and counts, what is on samples as they are no longer.
    saved_at: as in `Contents`. max_drawn: so many samples are drawn, the worst first; None draws all. on_plan hears
    how many samples there are to read, and to draw; on_progress how many were read since its last call.

    Raises: StoreError, ReviewError; DatasetError for a truth that is no folder, or says two things of a frame.
    """
    opened = open_store(store)
    taken = None if decisions is None else read_decisions_on(decisions, opened)
    truths = None if truth is None else find_truths(opened, truth_directory(truth))
    other = None if against is None else Counterparts(open_store(against), opened)
    num_samples = opened.manifest.num_samples
    on_plan(num_samples + min(max_drawn or 0, num_samples))
    found = survey(opened, truths=truths, against=other, on_progress=on_progress)
    drawn = worst(found.rows, len(found.rows) if max_drawn is None else max_drawn)
    return Contents(opened, found, drawn, truths, other, taken, saved_at)
