"""`propagate report` at size: seconds, bytes and memory of the page of a store of many small samples.

python benchmarks/report.py 20000 100000
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from propagate.data.classes import ClassTable, load_classes
from propagate.data.images import encode_png
from propagate.data.sample import COVERED, MATCHED, Sample
from propagate.shards.manifest import Manifest, PlannedClip, ShardEntry, ShardPlan, save_manifest
from propagate.shards.writer import ShardWriter

SIZE = (64, 64)
REACH = 5  # neighbours on each side
CLIPS_PER_SHARD = 100
NUM_PICTURES = 40  # that samples show in turn
MOST_DRAWN = 20_000

# A process of its own, so that the memory is that of the report alone.
REPORT = """
import json, sys, time
from dataclasses import asdict
from pathlib import Path
from propagate.review.report import write_report
def most():  # getrusage would count the process that started this one
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
before, start, used = most(), time.perf_counter(), time.process_time()
summary = write_report(Path(sys.argv[1]), max_samples=int(sys.argv[2]))
seconds, processor = time.perf_counter() - start, time.process_time() - used
found = {"seconds": seconds, "processor": processor, "before": before, "most": most()}
print(json.dumps({**asdict(summary), **found}))
"""


def pictures(classes: ClassTable) -> list[dict[str, object]]:
    """Frames, label maps and confidence of blurred noise, which has regions as streets have."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(NUM_PICTURES):
        fields = [cv2.GaussianBlur(random.random(SIZE), (0, 0), 6) for _ in classes.classes[:-1]]
        label = np.argmax(fields, axis=0).astype(np.uint8)
        frame = classes.palette[label] // 2 + random.integers(0, 40, (*SIZE, 3), np.uint8)
        edges = cv2.GaussianBlur((label != cv2.erode(label, np.ones((3, 3)))).astype(float), (0, 0), 2)
        confidence = np.clip(15 - 40 * edges, 0, 15).astype(np.uint8)
        maps = {
            "label": label,
            "confidence": confidence,
            "reason": np.where(confidence < 8, COVERED, MATCHED).astype("u1"),
        }
        made.append({"image": encode_png(frame.astype(np.uint8)), **maps})
    return made


def write_store(path: Path, num_samples: int) -> None:
    classes = load_classes("camvid")
    drawn = pictures(classes)
    per_clip = 2 * REACH + 1
    keys = [f"seq{number // 50:04d}_{number * per_clip:07d}" for number in range(-(-num_samples // per_clip))]
    plan = tuple(
        ShardPlan(
            index=index,
            size=SIZE,
            clips=tuple(
                PlannedClip(key=key, inputs="", before=REACH, after=REACH)
                for key in keys[index * CLIPS_PER_SHARD : (index + 1) * CLIPS_PER_SHARD]
            ),
        )
        for index in range(-(-len(keys) // CLIPS_PER_SHARD))
    )
    path.mkdir()
    manifest = Manifest(dataset="camvid", split="train", settings={}, versions={}, classes=classes, plan=plan)
    left = num_samples
    for shard in plan:
        with ShardWriter(path / shard.name, SIZE, "encoded", manifest.place(shard.index)) as writer:
            for number, clip in enumerate(shard.clips):
                for offset in (0, *(sign * distance for distance in range(1, REACH + 1) for sign in (-1, 1)))[:left]:
                    sample = Sample(
                        key=f"{clip.key}{offset:+d}",
                        source_key=clip.key,
                        group=clip.key.partition("_")[0],
                        offset=offset,
                        pairing="label",
                        origin="propagated" if offset else "annotated",
                        **drawn[(number * 7 + offset) % NUM_PICTURES],  # type: ignore[arg-type]
                    )
                    writer.add(sample)
                    left -= 1
            manifest.shards[shard.index] = ShardEntry(name=shard.name, failures=(), **asdict(writer.finish()))
    save_manifest(path, manifest)


def main() -> None:
    heads = ("samples", "drawn", "seconds", "of a processor", "MB", "files", "MiB of memory before", "at most")
    print("  ".join(heads))
    for num_samples in map(int, sys.argv[1:] or ("20000",)):
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "store"
            write_store(store, num_samples)
            for drawn in (2000, num_samples)[: 2 if num_samples <= MOST_DRAWN else 1]:
                command = [sys.executable, "-c", REPORT, str(store), str(drawn)]
                found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
                cells = (
                    f"{num_samples}",
                    f"{found['drawn']}",
                    f"{found['seconds']:.1f}",
                    f"{found['processor']:.1f}",
                    f"{found['bytes'] / 1e6:.1f}",
                    f"{found['files']}",
                    f"{found['before']:.0f}",
                    f"{found['most']:.0f}",
                )
                print("  ".join(cell.rjust(len(head)) for head, cell in zip(heads, cells, strict=True)), flush=True)


if __name__ == "__main__":
    main()
