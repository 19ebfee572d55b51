"""How far a run has come, wherever it works: from what lies in its store."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from propagate.job.plan import num_samples
from propagate.job.sight import SIGN
from propagate.shards.manifest import Manifest, load_manifest
from propagate.shards.transaction import ATTEMPTS


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What is done of a plan, and what a run does about the rest.

    command: what writes the store. at_work: whether a run has the store, or was killed so that it could not tidy up:
    then last_written stays behind. begun: shards that are being written. last_written: seconds since anything was.
    samples_per_second: by the shards that the run has finished since its workers had one each, so without its start;
    None where that is not known yet, as seconds_left then.
    """

    command: str
    shards: int
    planned_shards: int
    samples: int
    planned_samples: int
    failures: int
    at_work: bool
    begun: int
    last_written: float | None
    samples_per_second: float | None
    seconds_left: float | None


def status_of(store: Path, *, now: float | None = None) -> RunStatus:
    """now: seconds since 1970, by the clock of the file system. Raises: StoreError where there is no store."""
    manifest = load_manifest(store)
    at = time.time() if now is None else now
    signs = _times(store, SIGN.format("*"))
    attempts = _times(store, ATTEMPTS)
    shards = _times(store, "shard-*.h5")
    left = sum(_num_samples(manifest, index) for index in range(len(manifest.plan)) if index not in manifest.shards)
    rate = _rate(manifest, shards, since=max(signs.values()), num_workers=len(attempts)) if signs else None
    written = [*attempts.values(), *shards.values()]
    return RunStatus(
        command=manifest.command,
        shards=len(manifest.shards),
        planned_shards=len(manifest.plan),
        samples=manifest.num_samples,
        planned_samples=manifest.num_samples + left,
        failures=len(manifest.failures),
        at_work=bool(signs),
        begun=len(attempts),
        last_written=max(0.0, at - max(written)) if written else None,
        samples_per_second=rate,
        seconds_left=None if rate is None else max(0.0, left / rate - (at - max(shards.values()))),
    )


def _times(store: Path, pattern: str) -> dict[str, float]:
    """When files were last written, by name; those that go away meanwhile are left out."""
    times = {}
    for path in store.glob(pattern):
        try:
            times[path.name] = path.stat().st_mtime
        except FileNotFoundError:
            continue
    return times


def _num_samples(manifest: Manifest, index: int) -> int:
    """As many as a shard has where nothing fails."""
    return sum(num_samples(clip, manifest.settings) for clip in manifest.plan[index].clips)


def _rate(manifest: Manifest, shards: Mapping[str, float], *, since: float, num_workers: int) -> float | None:
    """Samples per second of the shards that came after the first of each worker, of those finished since a time."""
    finished = sorted(
        (shards[entry.name], entry.samples)
        for entry in manifest.entries()
        if entry.name is not None and shards.get(entry.name, 0.0) >= since
    )
    first = max(1, num_workers) - 1
    if len(finished) <= first + 1:
        return None
    seconds = finished[-1][0] - finished[first][0]
    return sum(samples for _, samples in finished[first + 1 :]) / seconds if seconds > 0 else None
