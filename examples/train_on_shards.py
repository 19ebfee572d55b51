"""Train on a shard store in plain PyTorch: this package reads the samples, and the rest is yours.

python examples/train_on_shards.py [STORE] [--steps 20]

Without a store, a small one is made of a synthetic snippet, in the folder where you stand.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader

from propagate.datasets.base import DatasetOptions
from propagate.job.run import RunConfig, run
from propagate.synth.write import write_dataset
from propagate.torch_dataset import StoreDataset


def network(num_classes: int) -> nn.Module:
    """Four convolutions, of which two see far."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=4, dilation=4),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=8, dilation=8),
        nn.ReLU(),
        nn.Conv2d(32, num_classes, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?", help="what `propagate run` wrote")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    store = arguments.store or Path("shards")
    if arguments.store is None and not store.exists():
        root = Path("street")
        if not root.exists():
            write_dataset(root, num_snippets=1, size=(64, 128), around=5)
        run(RunConfig(options=DatasetOptions(root=root), out=store, engine="local"))

    torch.manual_seed(0)
    samples = StoreDataset(store, min_confidence=0.5)
    model = network(len(samples.classes.train_names))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(samples, batch_size=4, shuffle=True)
    step = 0
    while step < arguments.steps:
        for image, label, _ in loader:
            loss = F.cross_entropy(model(image / 255), label, ignore_index=255)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % 5 == 0 or step == arguments.steps - 1:
                print(f"step {step}: loss {loss.item():.3f}")
            step += 1
            if step == arguments.steps:
                break


if __name__ == "__main__":
    main()
