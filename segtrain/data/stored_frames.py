"""Annotated frames that stores hold already: what a frame of a data set is compared with before it is taken too."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from propagate.data.classes import ClassTable
from propagate.data.clip import Clip
from propagate.data.images import decode_frame, read_label
from propagate.data.sample import ANNOTATED
from propagate.review.decisions import read_decisions
from propagate.shards.identity import identity_of
from propagate.shards.reader import SampleRecord, Store, open_store


class KnownFrame(NamedTuple):
    """An annotated sample of a store, by its number."""

    store: Store
    number: int

    def is_of(self, clip: Clip, own: ClassTable, classes: ClassTable | None = None) -> bool:
        """Whether a clip's annotated frame has the sample's labels, as they are trained on, and its pixels.

        own: the table of the clip's label map. classes: that of both, where it is another than their own.
        Raises: InputError, StoreError for what cannot be read.
        """
        assert clip.label is not None
        sample = self.store.sample(self.number)
        label = (classes or own).train_id_of[read_label(clip.label, classes or own)]
        stored = (classes or self.store.manifest.classes).train_id_of[sample.label]
        if not np.array_equal(label, stored):
            return False
        frame = clip.frames[0]
        if isinstance(sample.image, bytes):
            if sample.image == frame.encoded():
                return True
            return np.array_equal(decode_frame(sample.image, f"sample '{sample.key}'"), frame.pixels())
        return np.array_equal(sample.image, frame.pixels())


KnownFrames = Mapping[str, Sequence[KnownFrame]]  # by key, of which stores may have several


def stored_frames(
    stores: Iterable[tuple[Path, Sequence[SampleRecord], Path | None]],
) -> KnownFrames:
    """The annotated samples of stores that are trained on, or rejected.

    stores: of each its path, the records of the samples that are trained on, and the file of decisions on it, if there
    is one. Raises: StoreError, ReviewError.
    """
    found = defaultdict(list)
    for path, records, decisions in stores:
        rejected = frozenset() if decisions is None else read_decisions(decisions).rejected
        decided = rejected | {identity_of(record) for record in records}
        store = open_store(path)
        for number, record in enumerate(store.records()):
            if record.origin == ANNOTATED and identity_of(record) in decided:
                found[record.key].append(KnownFrame(store, number))
    return found
