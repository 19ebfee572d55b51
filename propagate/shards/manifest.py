"""The manifest: which shards a store holds, made from which clips with which settings.

What is not in the manifest does not exist. It is written whole, under another name, synced and renamed, so that one
sees either the old or the new one; its first line carries a SHA-256 of its own bytes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.files import write_whole
from propagate.data.classes import ClassTable
from propagate.errors import StoreError
from propagate.shards.schema import SCHEMA_VERSION

MANIFEST = "manifest.json"
FAILURES = "failures.jsonl"
_BLANK = "0" * 64


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A clip that failed (offset 0) or was cut short at an offset, with the sentence that says why."""

    clip: str
    offset: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class PlannedClip:
    """A clip in the plan: its key, the digest of its inputs' names and sizes, and how far it reaches."""

    key: str
    inputs: str
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """Which clips go into a shard, in order. `size` is (H, W) of its frames, None where no header could be read."""

    index: int
    size: tuple[int, int] | None
    clips: tuple[PlannedClip, ...]

    @property
    def name(self) -> str:
        return f"shard-{self.index:05d}.h5"


@dataclass(frozen=True, kw_only=True)
class ShardSummary:
    """What a closed and verified shard holds. `offsets` counts samples, `labels` pixels by label id."""

    sha256: str
    content: str
    bytes: int
    samples: int
    size: tuple[int, int]
    offsets: dict[int, int]
    labels: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class ShardEntry(ShardSummary):
    """A finished shard. Without a single sample there is no file: then `name` is None."""

    name: str | None
    failures: tuple[Failure, ...]


@dataclass(kw_only=True)
class Manifest:
    """The whole record of a store. `settings` and `versions` decide the content; `shards` maps plan index to entry."""

    dataset: str
    split: str
    settings: dict[str, Any]
    versions: dict[str, str]
    classes: ClassTable
    plan: tuple[ShardPlan, ...]
    shards: dict[int, ShardEntry] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.shards) == len(self.plan)

    @property
    def inputs(self) -> dict[str, str]:
        """The digest of each planned clip's inputs, by its key."""
        return {clip.key: clip.inputs for plan in self.plan for clip in plan.clips}

    @property
    def failures(self) -> list[Failure]:
        return [failure for entry in self.entries() for failure in entry.failures]

    @property
    def num_samples(self) -> int:
        return sum(entry.samples for entry in self.entries())

    @property
    def num_clips(self) -> int:
        return sum(len(plan.clips) for plan in self.plan)

    def entries(self) -> Iterator[ShardEntry]:
        """The finished shards, in the order of the plan."""
        return (self.shards[index] for index in sorted(self.shards))

    @property
    def content(self) -> str:
        """One hash over the content of all finished shards."""
        lines = (f"{index} {self.shards[index].content}\n" for index in sorted(self.shards))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """What the store holds, as plain values: the answer of `propagate info --json`."""
        offsets: Counter[int] = Counter()
        labels: Counter[int] = Counter()
        sizes: Counter[str] = Counter()
        for entry in self.entries():
            offsets.update(entry.offsets)
            labels.update(entry.labels)
            sizes[f"{entry.size[0]}x{entry.size[1]}"] += entry.samples
        names = {c.id: c.name for c in self.classes.classes}
        pixels: Counter[str] = Counter()
        for label, count in sorted(labels.items()):
            pixels[names[label]] += count
        clips = [clip for plan in self.plan for clip in plan.clips]
        frames = self.settings["frames"]
        return {
            "samples": self.num_samples,
            "clips": len(clips),
            "shards": {"finished": len(self.shards), "planned": len(self.plan)},
            "bytes": sum(entry.bytes for entry in self.entries()),
            "offsets": {str(k): offsets[k] for k in sorted(offsets)},
            "sizes": dict(sorted((k, v) for k, v in sizes.items() if v)),
            "classes": dict(pixels),
            "shortened_clips": sum(clip.before < frames or clip.after < frames for clip in clips),
            "failures": [asdict(failure) for failure in self.failures],
            "dataset": self.dataset,
            "split": self.split,
            "settings": self.settings,
            "versions": self.versions,
            "content": self.content,
        }


def save_manifest(store: Path, manifest: Manifest) -> None:
    """Replace the store's manifest, and with it `failures.jsonl`, which is there for people to read."""
    document = {
        "sha256": _BLANK,
        "schema_version": SCHEMA_VERSION,
        "dataset": manifest.dataset,
        "split": manifest.split,
        "settings": manifest.settings,
        "versions": manifest.versions,
        "classes": manifest.classes.to_json(),
        "plan": [asdict(plan) for plan in manifest.plan],
        "shards": {str(index): asdict(manifest.shards[index]) for index in sorted(manifest.shards)},
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    _replace(store / MANIFEST, text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest(), 1))
    lines = (json.dumps(asdict(failure), ensure_ascii=False) + "\n" for failure in manifest.failures)
    _replace(store / FAILURES, "".join(lines))


def load_manifest(store: Path) -> Manifest:
    """The manifest of a store. Raises StoreError where there is none, or it is damaged, or of another version."""
    path = store / MANIFEST
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{store}: no shard store here (it has no {MANIFEST}); `propagate run` makes one") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        data = json.loads(raw)
        recorded = str(data["sha256"])
        version = data["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise _damaged(path) from None
    blanked = raw.replace(recorded.encode(), _BLANK.encode(), 1)
    if hashlib.sha256(blanked).hexdigest() != recorded:
        raise _damaged(path)
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: written with schema version {version}, this program reads {SCHEMA_VERSION}: use the release "
            "that wrote it, or write the store again with `propagate run --overwrite`"
        )
    return Manifest(
        dataset=data["dataset"],
        split=data["split"],
        settings=data["settings"],
        versions=data["versions"],
        classes=ClassTable.from_json(data["classes"]),
        plan=tuple(_plan(plan) for plan in data["plan"]),
        shards={int(index): _entry(entry) for index, entry in data["shards"].items()},
    )


def _replace(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise write_error(path, error) from None


def write_error(path: Path, error: OSError) -> StoreError:
    """What to say where a file of a store cannot be written."""
    return StoreError(
        f"{path}: cannot be written ({error.strerror or error}); make room or choose another OUT, then run again: "
        "finished shards are kept"
    )


def _damaged(path: Path) -> StoreError:
    return StoreError(
        f"{path}: damaged, its digest does not match its bytes; restore it from a copy, or write the store again "
        "with `propagate run --overwrite`"
    )


def _plan(data: Mapping[str, Any]) -> ShardPlan:
    return ShardPlan(
        index=data["index"],
        size=_size(data["size"]) if data["size"] else None,
        clips=tuple(PlannedClip(**clip) for clip in data["clips"]),
    )


def _entry(data: Mapping[str, Any]) -> ShardEntry:
    return ShardEntry(
        **{
            **data,
            "size": _size(data["size"]),
            "offsets": {int(k): v for k, v in data["offsets"].items()},
            "labels": {int(k): v for k, v in data["labels"].items()},
            "failures": tuple(Failure(**failure) for failure in data["failures"]),
        }
    )


def _size(data: list[int]) -> tuple[int, int]:
    height, width = data
    return height, width
