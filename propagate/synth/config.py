"""What a synthetic data set is to be; no PyTorch is needed to know it."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from jobs.console.settings import require_settings, setting

STREET, TRANSLATE = SCENES = ("street", "translate")
LENGTHS = {STREET: 30, TRANSLATE: 6}  # of a snippet, where nothing else is asked for
SPEED = 16
ANNOTATED_FRAME = 19  # of each snippet, as in Cityscapes: the twentieth


def written_frames(length: int, around: int | None) -> range:
    """The numbers of the frames of a snippet of a drive that are written: `around` on each side of the annotated one,
    or where that is None, all.
    """
    if around is None:
        return range(length)
    return range(max(0, ANNOTATED_FRAME - around), min(length, ANNOTATED_FRAME + around + 1))


@dataclass(frozen=True, kw_only=True)
class StreetConfig:
    """A synthetic data set: its snippets are dealt out to the cities of each split in turn."""

    dest: Path = setting(MISSING, "The folder of the data set.", argument="DEST")
    scene: str = setting(STREET, "street: a drive; translate: pictures of streets that move sideways.", choices=SCENES)
    splits: tuple[str, ...] = setting(("train",), "A split to write; repeatable.", option="split", repeatable=True)
    cities: int = setting(1, "Of a split.", least=1)
    snippets: int = setting(4, "Of a split, in all cities together.", least=1)
    size: tuple[int, int] = setting((256, 512), "Of frames: height x width.")
    length: int | None = setting(None, "Frames per snippet.", otherwise="30, of translate 6", least=2)
    around: int | None = setting(
        None,
        "Of street: write only the annotated frame of a snippet, its twentieth, and so many on each side.",
        otherwise="all",
        least=0,
    )
    speed: int | None = setting(None, "Of translate: pixels a frame.", otherwise=f"{SPEED}", least=1)
    seed: int = setting(0, "Another one gives other streets.")

    def __post_init__(self) -> None:
        require_settings(self)
        if self.speed is not None and self.scene != TRANSLATE:
            raise ValueError(f"speed is of the scene {TRANSLATE}, found {self.scene}; leave it out")
        if self.around is not None and self.scene != STREET:
            raise ValueError(f"around is of the scene {STREET}, found {self.scene}; leave it out")

    @property
    def num_frames(self) -> int:
        """Of a snippet."""
        return LENGTHS[self.scene] if self.length is None else self.length

    @property
    def num_written(self) -> int:
        """Frames of a snippet that are written."""
        return self.num_frames if self.scene != STREET else len(written_frames(self.num_frames, self.around))

    @property
    def num_snippets(self) -> int:
        """Of all splits together."""
        return len(self.splits) * self.snippets
