"""Two motions compared: mIoU of the labels that they carry, by distance from the annotated frame.

python examples/compare_motions.py [CITYSCAPES_ROOT TRUTH] [--motions none dis]

TRUTH is a folder of label maps of the neighbours, named by the frames' keys. Without a data set, a synthetic one is
made in the folder where you stand, with exact truth. The stores stay there: run it again, and only a new motion works.
"""

import argparse
from pathlib import Path

from propagate.datasets.base import DatasetOptions
from propagate.job.run import RunConfig, run
from propagate.scoring.evaluate import evaluate_store
from propagate.scoring.metrics import mean_iou
from propagate.scoring.truth import truth_directory
from propagate.shards.reader import open_store
from propagate.synth.write import write_dataset
from sdcnet.motion.registry import ESTIMATORS, MotionSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*", help="a data set in the Cityscapes layout, and the truth")
    parser.add_argument("--motions", nargs="+", choices=list(ESTIMATORS), default=["none", "dis"])
    arguments = parser.parse_args()
    root, truth = arguments.data or (Path("street"), Path("street/truth"))
    if not arguments.data and not root.exists():
        write_dataset(root, num_snippets=1, size=(96, 192), around=5)

    print("motion    " + "".join(f"{f'±{distance}':>7}" for distance in range(1, 6)) + "   mean")
    for motion in arguments.motions:
        store = Path(f"shards_{motion}")
        run(RunConfig(options=DatasetOptions(root=root), out=store, motion=MotionSettings(name=motion), engine="local"))
        report = evaluate_store(open_store(store), truth_directory(truth))
        scores = [mean_iou(counts.whole) for counts in report.per_abs_offset.values()]
        print(f"{motion:<10}" + "".join(f"{score:7.3f}" for score in scores) + f"{report.miou:7.3f}")


if __name__ == "__main__":
    main()
