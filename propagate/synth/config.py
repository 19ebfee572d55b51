"""What a synthetic data set is to be; no PyTorch is needed to know it."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from jobs.console.settings import require_settings, setting


@dataclass(frozen=True, kw_only=True)
class StreetConfig:
    """A synthetic driving data set: its snippets are dealt out to the cities of each split in turn."""

    dest: Path = setting(MISSING, "The folder of the data set.", argument="DEST")
    splits: tuple[str, ...] = setting(("train",), "A split to write; repeatable.", option="split", repeatable=True)
    cities: int = setting(1, "Of a split.", least=1)
    snippets: int = setting(4, "Of a split, in all cities together.", least=1)
    size: tuple[int, int] = setting((256, 512), "Of frames: height x width.")
    length: int = setting(30, "Frames per snippet.", least=20)
    seed: int = setting(0, "Another one gives other streets.")

    def __post_init__(self) -> None:
        require_settings(self)

    @property
    def num_snippets(self) -> int:
        """Of all splits together."""
        return len(self.splits) * self.snippets
