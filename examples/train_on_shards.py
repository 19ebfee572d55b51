"""Train on a shard store in plain PyTorch: this package reads the samples, and the rest is yours.

python examples/train_on_shards.py [STORE] [--steps 20]

Without a store, a small one is made of a synthetic snippet, in the folder where you stand.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from propagate.datasets.base import DatasetOptions
from propagate.job.run import RunConfig, run
from propagate.synth.write import write_dataset
from segtrain.data.store_samples import open_store_samples


class Shards(Dataset[tuple[Tensor, Tensor]]):
    """The samples of a store: image [3,H,W] float32 in 0…1, train ids [H,W] int64, 255 where ignored or unsure."""

    def __init__(self, store: Path, min_confidence: float) -> None:
        self.samples = open_store_samples(store, min_confidence=min_confidence)
        self.num_classes = len(self.samples.classes.train_names)

    def __len__(self) -> int:
        return len(self.samples.records)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        pixels = self.samples.read(number)
        image = torch.from_numpy(pixels.image).permute(2, 0, 1).float() / 255
        return image, torch.from_numpy(pixels.label).long()


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
            write_dataset(root, num_snippets=1, size=(64, 128), length=25)
        run(RunConfig(options=DatasetOptions(root=root), out=store, engine="local"))

    torch.manual_seed(0)
    shards = Shards(store, min_confidence=0.5)
    model = network(shards.num_classes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(shards, batch_size=4, shuffle=True)
    step = 0
    while step < arguments.steps:
        for image, label in loader:
            loss = F.cross_entropy(model(image), label, ignore_index=255)
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
