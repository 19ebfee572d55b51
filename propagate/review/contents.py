"""The files of a report by their names: a folder holds some of them, a server makes any when it is asked for it.

index.html, page/…           the page
data/store.js                what is said of the store as a whole
data/rows-NUMBER.js          CHUNK rows each
data/p-ROW.js, s-SOURCE.js   a sample, and an annotated frame, as pictures
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from propagate.data.clip import Label
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, ORIGINS, REASONS, Sample
from propagate.errors import InputError, StoreError
from propagate.review.decisions import Decisions
from propagate.review.page import page_files
from propagate.review.pictures import draw_sample, draw_source
from propagate.review.scripts import call
from propagate.review.survey import Counterparts, Survey
from propagate.review.verdict import truth_table
from propagate.scoring.evaluate import read_truth
from propagate.shards.opening import ADVICE
from propagate.shards.reader import Store

PAGE, STORE, ROWS = "index.html", "data/store.js", "data/rows-{:03}.js"
PICTURE, SOURCE = "data/p-{}.js", "data/s-{}.js"
OF_DATA = re.compile(r"data/(?:store|rows-(?P<chunk>\d{3,9})|p-(?P<row>\d{1,9})|s-(?P<source>\d{1,9}))\.js", re.ASCII)
VERSION = 1
CHUNK = 10_000
SAVE = "decisions"  # where the page sends them, relative to its own address


@dataclass
class Contents:
    """What the files hold. drawn: of each row, whether there is a picture. decisions: those taken before.

    truths: true label maps by key. saved_at: where whoever serves the page saves decisions; None where nobody does.
    version: of the file there.
    """

    store: Store
    survey: Survey
    drawn: Sequence[bool]
    truths: Mapping[str, Label] | None = None
    against: Counterparts | None = None
    decisions: Decisions | None = None
    saved_at: Path | None = None
    version: str = ""

    def __post_init__(self) -> None:
        rows = self.survey.rows
        self._page = page_files(self._name)
        self._annotated = {
            source: row
            for row, (source, origin) in enumerate(zip(rows.source, rows.origin, strict=True))
            if ORIGINS[origin] == ANNOTATED
        }  # the row of each source's annotated frame

    def names(self) -> Iterator[str]:
        """Of all files that there are, the page last."""
        yield STORE
        yield from map(ROWS.format, range(self._num_chunks))
        yield from (PICTURE.format(row) for row, is_drawn in enumerate(self.drawn) if is_drawn)
        yield from (SOURCE.format(source) for source, is_drawn in enumerate(self._drawn_sources()) if is_drawn)
        yield from sorted(self._page, key=PAGE.__eq__)

    def file(self, name: str) -> bytes | None:
        """The content of a file; None where there is none of that name. Raises: StoreError."""
        match = OF_DATA.fullmatch(name)
        if match is None:
            return self._page.get(name)
        if name == STORE:
            return call("store", self._about())
        number = int(match["chunk"] or match["row"] or match["source"])
        if match["chunk"] is not None:
            start = number * CHUNK
            rows = self.survey.rows
            return call("rows", rows.columns(start, start + CHUNK, self.drawn)) if number < self._num_chunks else None
        if match["row"] is not None:
            return self._picture(number) if number < len(self.drawn) and self.drawn[number] else None
        return self._source(number)

    @property
    def _num_chunks(self) -> int:
        return -(-len(self.survey.rows) // CHUNK)

    def _drawn_sources(self) -> list[bool]:
        """Of each source, whether its annotated frame is drawn: where one of its samples is."""
        rows = self.survey.rows
        of_drawn = {source for source, is_drawn in zip(rows.source, self.drawn, strict=True) if is_drawn}
        shown = of_drawn & self._annotated.keys()
        return [source in shown for source in range(len(rows.sources.texts))]

    @property
    def _name(self) -> str:
        return self.store.path.resolve().name

    def _about(self) -> dict[str, Any]:
        manifest, found = self.store.manifest, self.survey
        other = None if self.against is None else self.against.store
        return {
            "version": VERSION,
            "name": self._name,
            "store_id": manifest.store_id,
            "dataset": manifest.dataset,
            "split": manifest.split,
            "settings": manifest.settings,
            "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "classes": found.legend.to_json(),
            "levels": CONFIDENCE_LEVELS,
            "sources": found.rows.sources.texts,
            "sources_drawn": [int(each) for each in self._drawn_sources()],
            "groups": found.rows.groups.texts,
            "origins": ORIGINS,
            "rows": len(found.rows),
            "chunks": [ROWS.format(number).removeprefix("data/") for number in range(self._num_chunks)],
            "drawn": sum(self.drawn),
            "has": {"truth": self.truths is not None, "against": other is not None, "reasons": found.has_reasons},
            "against": None
            if other is None
            else {"name": other.path.resolve().name, "settings": other.manifest.settings},
            "reasons": REASONS,
            "histograms": found.pixels.to_json(),
            "truth_table": None if found.scores is None else truth_table(found.scores),
            "verdict": found.verdict,
            "server": None if self.saved_at is None else {"save": SAVE, "version": self.version},
            "decisions": None if self.decisions is None else self.decisions.to_json(),
            "command": str(self.store.path),
            "decisions_file": None if self.saved_at is None else str(self.saved_at),
        }

    def _picture(self, row: int) -> bytes:
        sample = self.store[row]
        truth = self._truth_of(sample)
        against = None if self.against is None else self.against.label_of(sample)
        return call("picture", row, self._drawn(sample, truth=truth, against=against))

    def _source(self, source: int) -> bytes | None:
        row = self._annotated.get(source)
        if row is None:
            return None
        return call("source", source, self._drawn(self.store[row], is_source=True))

    def _drawn(
        self,
        sample: Sample,
        *,
        truth: np.ndarray | None = None,
        against: np.ndarray | None = None,
        is_source: bool = False,
    ) -> dict[str, Any]:
        legend = self.survey.legend
        try:
            return (
                draw_source(sample, legend) if is_source else draw_sample(sample, legend, truth=truth, against=against)
            )
        except InputError as error:
            raise StoreError(f"{self.store.path}: {error}; {ADVICE}") from None

    def _truth_of(self, sample: Sample) -> np.ndarray | None:
        """[H,W] uint8 label ids; None where there is none, or it cannot be used, which the scores have as a failure."""
        label = None if self.truths is None or sample.origin == ANNOTATED else self.truths.get(sample.key)
        try:
            return None if label is None else read_truth(label, sample, self.store.manifest.classes)
        except InputError:
            return None
