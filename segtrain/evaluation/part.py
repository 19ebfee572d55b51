"""Parts of an evaluation; neither PyTorch nor NumPy is needed to know them."""

import re
from typing import NamedTuple, Self


class Part(NamedTuple):
    """One of so many parts, counted from 1: of the images every so manyth."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "1/8". Raises: ValueError for anything else."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"'{text}' is no part, as 1/8, the first of eight")
        return cls(int(match[1]), int(match[2]))

    def numbers(self, length: int) -> range:
        """Of so many images the numbers of those in this part."""
        return range(self.number - 1, length, self.of)


WHOLE = Part(1, 1)
