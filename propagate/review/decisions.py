"""Which samples of a store people have accepted and rejected: a file of JSON, believed only where it fits the store.

{"version": 1, "store": STORE_ID, "samples": [
    {"source_key": …, "offset": …, "pairing": …, "digest": …, "decision": "accept" | "reject", "at": ISO time}]}
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.files import open_regular, write_whole
from propagate.errors import ReviewError
from propagate.shards.identity import Identity, identity_of
from propagate.shards.parsing import parse
from propagate.shards.reader import Store

VERSION = 1
ACCEPT, REJECT = "accept", "reject"
MOST_BYTES = 64 * 2**20  # of a file: some 200,000 decisions
_LONGEST_TIME = 40  # characters
_REVIEW = "look at the store again with `propagate review`, which leaves such decisions out"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """On one sample. digest: what it was when it was decided on; empty where its store has none. at: ISO time."""

    source_key: str
    offset: int
    pairing: str
    digest: str
    decision: str
    at: str

    @property
    def identity(self) -> Identity:
        return self.source_key, self.offset, self.pairing

    @property
    def called(self) -> str:
        """Its sample, in messages."""
        return f"sample {self.offset:+d} of '{self.source_key}' ({self.pairing})"


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Those on the samples of one store, at most one on each."""

    version: int
    store: str
    samples: tuple[Decision, ...]

    @property
    def rejected(self) -> frozenset[Identity]:
        return frozenset(each.identity for each in self.samples if each.decision == REJECT)

    @property
    def digest(self) -> str | None:
        """Of what follows from them, which samples are rejected: whenever that was, and whatever was accepted."""
        rejected = sorted((*each.identity, each.digest) for each in self.samples if each.decision == REJECT)
        return hashlib.sha256(json.dumps([self.store, rejected]).encode()).hexdigest() if rejected else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def beside(store: Path, ending: str) -> Path:
    """The path of a store with something at the end of its name."""
    return Path(os.path.abspath(store) + ending)  # noqa: PTH100 (a link is not followed, and `..` has no name)


def default_decisions(store: Path) -> Path:
    """STORE.decisions.json, beside the store: where `propagate review` keeps them."""
    return beside(store, ".decisions.json")


def read_decisions(path: Path) -> Decisions:
    """Raises: ReviewError for a file that cannot be read, or is none of decisions."""
    try:
        with open_regular(path) as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ReviewError(f"{path}: cannot be read ({error.strerror}); give a file that the page has saved") from None
    return parse_decisions(data, str(path))


def parse_decisions(data: bytes, where: str) -> Decisions:
    """Decisions from the bytes of their file. where: how messages call it. Raises: ReviewError."""
    if len(data) > MOST_BYTES:
        raise ReviewError(f"{where}: has more than {MOST_BYTES >> 20} MiB, expected a file of decisions")
    try:
        values = json.loads(data)
        version = values["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReviewError(
            f"{where}: no file of decisions ({type(error).__name__}: {error}); save it again from the page"
        ) from None
    if type(version) is not int or version != VERSION:
        raise ReviewError(f"{where}: decisions of version {version!r:.20}, this program reads {VERSION}; update it")
    try:
        decisions: Decisions = parse(Decisions, values, "decisions")
        for each in decisions.samples:
            _require_possible(each)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ReviewError(f"{where}: no file of decisions ({error}); save it again from the page") from None
    return decisions


def _require_possible(decision: Decision) -> None:
    """Raises: ValueError."""
    if decision.decision not in (ACCEPT, REJECT):
        raise ValueError(f"'{decision.decision:.20}' is neither {ACCEPT} nor {REJECT}")
    if len(decision.at) > _LONGEST_TIME:
        raise ValueError(f"'{decision.at:.50}' is no time")
    datetime.fromisoformat(decision.at)


def digests_of(store: Store) -> dict[Identity, str]:
    """The digest of each sample of a store; empty where it has none. Raises: StoreError."""
    return {identity_of(record): record.digest for record in store.records()}


def require_on(decisions: Decisions, store: Store, where: str) -> None:
    """Raise ReviewError unless they were taken on this store, whatever its samples are by now."""
    if decisions.store != store.manifest.store_id:
        raise ReviewError(
            f"{where}: decisions on another store ({decisions.store:.12}…, {store.path} is "
            f"{store.manifest.store_id:.12}…); give those that were taken on this one"
        )


def read_decisions_on(path: Path, store: Store) -> Decisions:
    """The decisions of a file that were taken on this store: see `require_on`. Raises: ReviewError."""
    decisions = read_decisions(path)
    require_on(decisions, store, str(path))
    return decisions


def require_of(decisions: Decisions, store: Store, digests: Mapping[Identity, str], where: str) -> None:
    """Raise ReviewError unless they are of samples of this store, as they are now. digests: see `digests_of`."""
    require_on(decisions, store, where)
    decided: set[Identity] = set()
    for each in decisions.samples:
        if each.identity not in digests:
            raise ReviewError(f"{where}: {each.called} is not in {store.path}; {_REVIEW}")
        if each.identity in decided:
            raise ReviewError(f"{where}: {each.called} is decided on twice; keep one of the two decisions")
        if each.digest != digests[each.identity]:
            raise ReviewError(
                f"{where}: {each.called} in {store.path} is not what was decided on: it was made anew; {_REVIEW}"
            )
        decided.add(each.identity)


def open_decisions(path: Path, store: Store) -> Decisions:
    """The decisions of a file, which are of this store's samples. Raises: ReviewError, StoreError."""
    decisions = read_decisions(path)
    require_of(decisions, store, digests_of(store), str(path))
    return decisions


def version_of(path: Path) -> str:
    """What tells the file as it lies there now from what others may write in its place; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def save_decisions(path: Path, decisions: Decisions) -> None:
    """Write the file whole or not at all. Raises: ReviewError, the former file untouched."""
    text = json.dumps(decisions.to_json(), indent=1, ensure_ascii=False) + "\n"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise ReviewError(f"{path}: cannot be written ({error.strerror}); what was saved before is kept") from None
