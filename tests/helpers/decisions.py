"""Files of decisions on the samples of stores."""

import json
from pathlib import Path

from propagate.shards.reader import open_store


def decide(path: Path, store: Path, *rejected: int, decision: str = "reject", **changed: object) -> Path:
    """A file of decisions on the samples of a store of these numbers, which is returned."""
    opened = open_store(store)
    records = list(opened.records())
    samples = [
        {
            **{name: getattr(records[number], name) for name in ("source_key", "offset", "pairing", "digest")},
            "decision": decision,
            "at": "2026-11-29T08:00:00Z",
        }
        for number in rejected
    ]
    path.write_text(json.dumps({"version": 1, "store": opened.manifest.store_id, "samples": samples, **changed}))
    return path
