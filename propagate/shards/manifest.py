"""The manifest: which shards a store holds, made from which clips with which settings.

What is not in the manifest does not exist. It is written whole, under another name, synced and renamed, so that one
sees either the old or the new one; its first line carries a SHA-256 of its own bytes.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.files import write_whole
from propagate.data.classes import ClassTable
from propagate.data.sample import ANNOTATED, ORIGINS, PROPAGATED
from propagate.errors import DatasetError, StoreError
from propagate.shards.parsing import parse
from propagate.shards.schema import READ_VERSIONS, SCHEMA_VERSION, ShardPlace

MANIFEST = "manifest.json"
FAILURES = "failures.jsonl"
_BLANK = "0" * 64


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A clip that failed (offset 0) or whose frame at an offset cannot be used, with the sentence that says why."""

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
    """What a closed and verified shard holds. `offsets` and `origins` count samples, `labels` pixels by label id."""

    sha256: str
    content: str
    bytes: int
    samples: int
    size: tuple[int, int]
    offsets: dict[int, int]
    origins: dict[str, int]
    labels: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class ShardEntry(ShardSummary):
    """A finished shard. Without a single sample there is no file: then `name` is None."""

    name: str | None
    failures: tuple[Failure, ...]


@dataclass(kw_only=True)
class Manifest:
    """The whole record of a store. `settings` and `versions` decide the content; `shards` maps plan index to entry.

    store_id: what its shards call it; of what it was begun with, if it is not given. version: of the store's schema.
    """

    dataset: str
    split: str
    settings: dict[str, Any]
    versions: dict[str, str]
    classes: ClassTable
    plan: tuple[ShardPlan, ...]
    shards: dict[int, ShardEntry] = field(default_factory=dict)
    store_id: str = ""
    version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not self.store_id:
            self.store_id = hashlib.sha256(json.dumps(self._begun_with()).encode()).hexdigest()

    def _begun_with(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "split": self.split,
            "settings": self.settings,
            "versions": self.versions,
            "classes": self.classes.to_json(),
            "plan": [asdict(plan) for plan in self.plan],
        }

    def place(self, index: int) -> ShardPlace:
        """Where the shard of that index in the plan belongs."""
        return ShardPlace(
            store_id=self.store_id,
            shard_index=index,
            num_shards=len(self.plan),
            classes=json.dumps(self.classes.to_json(), ensure_ascii=False),
        )

    @property
    def command(self) -> str:
        """What wrote the store, and goes on with it."""
        return str(self.settings.get("command", "propagate run"))

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
        origins: Counter[str] = Counter()
        labels: Counter[int] = Counter()
        sizes: Counter[str] = Counter()
        for entry in self.entries():
            offsets.update(entry.offsets)
            origins.update(entry.origins)
            labels.update(entry.labels)
            sizes[f"{entry.size[0]}x{entry.size[1]}"] += entry.samples
        names = {c.id: c.name for c in self.classes.classes}
        pixels: Counter[str] = Counter()
        for label, count in sorted(labels.items()):
            pixels[names.get(label, f"id {label}")] += count
        clips = [clip for plan in self.plan for clip in plan.clips]
        frames = self.settings.get("frames", 0)
        wanted = self.settings.get("offsets", [-frames, frames])
        before, after = max(0, -min(wanted)), max(0, max(wanted))
        return {
            "samples": self.num_samples,
            "clips": len(clips),
            "shards": {"finished": len(self.shards), "planned": len(self.plan)},
            "bytes": sum(entry.bytes for entry in self.entries()),
            "offsets": {str(k): offsets[k] for k in sorted(offsets)},
            "origins": {name: origins[name] for name in ORIGINS if origins[name]},
            "sizes": dict(sorted((k, v) for k, v in sizes.items() if v)),
            "classes": dict(pixels),
            "shortened_clips": sum(clip.before < before or clip.after < after for clip in clips),
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
        "schema_version": manifest.version,
        "store_id": manifest.store_id,
        **manifest._begun_with(),
        "shards": {str(index): asdict(manifest.shards[index]) for index in sorted(manifest.shards)},
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    _replace(store / MANIFEST, text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest(), 1))
    lines = (json.dumps(asdict(failure), ensure_ascii=False) + "\n" for failure in manifest.failures)
    _replace(store / FAILURES, "".join(lines))


def load_manifest(store: Path) -> Manifest:
    """The manifest of a store. Raises: StoreError where there is none, or it is damaged, or of another version."""
    path = store / MANIFEST
    try:
        if path.exists() and not path.is_file():
            raise StoreError(f"{path}: cannot be read (it is no regular file)")
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{store}: no shard store here (it has no {MANIFEST}); `propagate run` makes one") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        data = json.loads(raw)
        recorded, version = data["sha256"], data["schema_version"]
        if not re.fullmatch("[0-9a-f]{64}", recorded):
            raise ValueError("no digest")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damaged(path) from None
    blanked = raw.replace(recorded.encode(), _BLANK.encode(), 1)
    if hashlib.sha256(blanked).hexdigest() != recorded:
        raise _damaged(path)
    if type(version) is not int or version not in READ_VERSIONS:
        raise StoreError(
            f"{path}: written with schema version {version}, this program reads {READ_VERSIONS[0]} to "
            f"{SCHEMA_VERSION}: use the release that wrote it, or write the store again with "
            "`propagate run --overwrite`"
        )
    try:
        return _manifest(data)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, DatasetError) as error:
        raise StoreError(
            f"{path}: not what `propagate run` writes ({error}), though its digest is right: somebody edited it; "
            "restore it from a copy, or write the store again with `propagate run --overwrite`"
        ) from None


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


def _manifest(data: dict[str, Any]) -> Manifest:
    """The manifest of plain values. Raises an error, of any of several kinds, where something in it cannot be."""
    json.dumps(data, ensure_ascii=False).encode()  # surrogates that are alone can't be
    shards = data["shards"]
    if data["schema_version"] == 1:
        shards = {index: {**entry, "origins": _origins(entry["offsets"])} for index, entry in shards.items()}
    manifest = Manifest(
        dataset=parse(str, data["dataset"], "dataset"),
        split=parse(str, data["split"], "split"),
        settings=parse(dict[str, Any], data["settings"], "settings"),
        versions=parse(dict[str, str], data["versions"], "versions"),
        classes=ClassTable.from_json(data["classes"]),
        plan=parse(tuple[ShardPlan, ...], data["plan"], "plan"),
        shards=parse(dict[int, ShardEntry], shards, "shards"),
        store_id="" if data["schema_version"] == 1 else parse(str, data["store_id"], "store_id"),
        version=data["schema_version"],
    )
    parse(int, manifest.settings.get("frames", 0), "settings.frames")
    if not parse(tuple[int, ...], manifest.settings.get("offsets", [0]), "settings.offsets"):
        raise ValueError("settings.offsets must be one number or more, found none")
    for index, plan in enumerate(manifest.plan):
        if plan.index != index:
            raise ValueError(f"shard {index} of the plan calls itself {plan.index}")
    for index, entry in manifest.shards.items():
        _require_possible(entry, manifest.plan[index] if 0 <= index < len(manifest.plan) else None)
    return manifest


def _origins(offsets: dict[str, int]) -> dict[str, int]:
    """What version 1 did not write: the samples by origin, of those by offset."""
    annotated = offsets.get("0", 0)
    counts = {ANNOTATED: annotated, PROPAGATED: sum(offsets.values()) - annotated}
    return {name: count for name, count in counts.items() if count}


def _require_possible(entry: ShardEntry, plan: ShardPlan | None) -> None:
    """Raise ValueError where an entry is not one of its shard in the plan, or contradicts itself."""
    if plan is None or entry.name not in (None, plan.name):
        raise ValueError(f"'{entry.name}' is not the file of a shard in the plan")
    counts = [entry.bytes, entry.samples, *entry.size, *entry.offsets.values(), *entry.labels.values()]
    if min(counts) < 0 or (entry.name is not None and min(entry.bytes, entry.samples, *entry.size) < 1):
        raise ValueError(f"{plan.name} has counts that cannot be: {counts}"[:200])
    height, width = entry.size
    pixels = sum(entry.labels.values())
    if not sum(entry.offsets.values()) == sum(entry.origins.values()) == entry.samples:
        raise ValueError(f"{plan.name} has {entry.samples} samples, but others by offset or origin")
    if pixels != entry.samples * height * width:
        raise ValueError(f"{plan.name} has {pixels} pixels by label, expected {entry.samples * height * width}")
    if not set(entry.origins) <= set(ORIGINS) or not set(entry.labels) <= set(range(256)):
        raise ValueError(f"{plan.name} has origins or label ids that there are not")
