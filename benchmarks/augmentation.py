"""Does training gain from propagated samples, and from relaxed labels? The same steps without and with them.

python benchmarks/augmentation.py synth [--steps 250] [--seeds 3]     synthetic streets, scored on unseen snippets
python benchmarks/augmentation.py camvid [--data ../shared/data]      three labels of CamVid, scored on a later stretch

The tiny recipe, from scratch: what comes out says whether there is a gain, not how large it is for a large network.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `segtrain fit` does, before torch is imported

from propagate.datasets.base import DatasetOptions
from propagate.job.config import RunConfig
from propagate.job.run import run
from propagate.synth.write import write_dataset
from segtrain.config import FitConfig
from segtrain.fit.recipes import load_recipe
from segtrain.fit.training import fit

FRAMES = 5
RIVALS: dict[str, dict[str, Any]] = {
    "annotated frames alone": {"max_offset": 0, "loss": "cross-entropy"},
    "with propagated samples": {"loss": "cross-entropy"},
    "with propagated samples, labels relaxed": {"loss": "relaxed"},
}


def synthetic_street(root: Path) -> dict[str, Any]:
    for split, snippets in (("train", 3), ("val", 8)):
        write_dataset(root, split=split, num_snippets=snippets, size=(128, 256), length=25, seed=1)
    return {"dataset": "cityscapes", "root": root, "val_split": "val"}


def camvid_stretch(root: Path, data: Path) -> dict[str, Any]:
    """Labels of frames 0, 10 and 20; frames from 31 on, which nothing was propagated to, are scored."""
    source = data / "camvid_15hz"
    frames = sorted((source / "clip").iterdir())
    for folder in ("train", "trainannot", "val", "valannot"):
        (root / folder).mkdir()
    for number, frame in enumerate(frames):
        split = "train" if number <= 20 + FRAMES else "val"
        if split == "train" or number > 30:
            (root / split / frame.name).symlink_to(frame)
        if number in (0, 10, 20) or number > 30:
            (root / f"{split}annot" / frame.name).symlink_to(source / "truth" / frame.name)
    return {"dataset": "camvid", "root": root, "val_split": "val"}


def score(settings: dict[str, Any], steps: int, seed: int) -> float:
    """mIoU after so many steps."""
    with tempfile.TemporaryDirectory() as out:
        recipe = load_recipe("tiny")
        config = {**recipe, **settings, "seed": seed, "out": Path(out) / "run"}
        config |= {
            "epochs": 4,
            "epoch_length": steps * config["batch_size"] // 4,
            "validate_every": 4,
            "loader_workers": 1,
        }
        scores = fit(FitConfig(**config)).scores
        assert scores is not None
        return scores.miou


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_set", choices=("synth", "camvid"))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        root.mkdir()
        if arguments.data_set == "synth":
            settings = synthetic_street(root)
        else:
            settings = camvid_stretch(root, arguments.data.resolve())
        options = DatasetOptions(root=root, split="train", max_gap=2 if settings["dataset"] == "camvid" else None)
        run(
            RunConfig(
                dataset=settings["dataset"], options=options, out=Path(folder) / "shards", frames=FRAMES, engine="local"
            )
        )
        settings["shards"] = (Path(folder) / "shards",)
        found: dict[str, list[float]] = {name: [] for name in RIVALS}
        for seed in range(arguments.seeds):
            for name, rival in RIVALS.items():
                found[name].append(score({**settings, **rival}, arguments.steps, seed))
                print(f"seed {seed}: {found[name][-1]:.4f} {name}", file=sys.stderr)
    print(f"{arguments.data_set}, {arguments.steps} steps of the tiny recipe, {arguments.seeds} seeds\n")
    print("| | mIoU, mean | of each seed |")
    print("|---|---:|---|")
    for name, scores in found.items():
        print(f"| {name} | {statistics.mean(scores):.3f} | {', '.join(f'{each:.3f}' for each in scores)} |")


if __name__ == "__main__":
    main()
