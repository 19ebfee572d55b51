"""What a synthetic data set is to be; no PyTorch is needed to know it."""

import re
from dataclasses import MISSING, dataclass
from pathlib import Path

from jobs.console.settings import require_settings, setting

STREET, TRANSLATE = SCENES = ("street", "translate")
LENGTHS = {STREET: 30, TRANSLATE: 6}  # of a snippet, where nothing else is asked for
SPEED = 16
ANNOTATED_FRAME = 19  # of each snippet, as in Cityscapes: the twentieth
SMALLEST_SIZE = (64, 128)


def written_frames(length: int, around: int | None) -> range:
    """The numbers of the frames of a snippet of a drive that are written: `around` on each side of the annotated one,
    or where that is None, all.
    """
    if around is None:
        return range(length)
    return range(max(0, ANNOTATED_FRAME - around), min(length, ANNOTATED_FRAME + around + 1))


def require_sensible(
    split: str,
    num_cities: int,
    num_snippets: int,
    size: tuple[int, int],
    length: int,
    around: int | None,
    seed: int,
    speed: int | None,
) -> None:
    """Raises: ValueError where a split of a data set, as in `propagate.synth.write.write_dataset`, makes no sense."""
    if not re.fullmatch(r"\w[\w.-]*", split):
        raise ValueError(f"split '{split}' cannot name a folder; give a plain name, such as train or val")
    if num_cities < 1:
        raise ValueError(f"{num_cities} cities asked for; ask for at least one")
    if num_snippets < num_cities:
        raise ValueError(f"{num_snippets} snippets for {num_cities} cities; ask for at least one snippet for each city")
    if size[0] < SMALLEST_SIZE[0] or size[1] < SMALLEST_SIZE[1]:
        height, width = SMALLEST_SIZE
        raise ValueError(f"frames of {size[0]}x{size[1]} pixels are too small; ask for {height}x{width} or more")
    if speed is None and length <= ANNOTATED_FRAME:
        raise ValueError(
            f"snippets of {length} frames have no frame {ANNOTATED_FRAME}, which is the annotated one; ask for a "
            f"length of at least {ANNOTATED_FRAME + 1}"
        )
    if around is not None and (speed is not None or around < 0):
        raise ValueError(f"{around} frames around an annotated one; ask for 0 or more, of drives alone")
    if speed is not None and min(speed, length) < 1:
        raise ValueError(f"{length} frames at {speed} pixels a frame do not move; ask for 1 or more of both")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; give a whole number from 0 on")


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
        if len(set(self.splits)) < len(self.splits):
            raise ValueError(f"splits {', '.join(self.splits)}: each can be written once")
        for split in self.splits:
            require_sensible(
                split, self.cities, self.snippets, self.size, self.num_frames, self.around, self.seed, self.moves_by
            )

    @property
    def moves_by(self) -> int | None:
        """Pixels a frame by which pictures move sideways; None is a drive."""
        return None if self.scene != TRANSLATE else SPEED if self.speed is None else self.speed

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
