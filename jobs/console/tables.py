"""Tables for people: the first column to the left, the others, which are numbers, to the right."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Heads, and rows of as many cells, or fewer: short rows end early."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        longest = max(map(len, self.rows), default=0)
        if longest > len(self.heads):
            raise ValueError(f"a row of {longest} cells under {len(self.heads)} heads")

    def text(self) -> str:
        """Aligned columns, for a terminal."""
        widths = self._widths()
        return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in (self.heads, *self.rows))

    def markdown(self) -> str:
        """Markdown, aligned for those who read it as it is."""
        widths = [max(3, width) for width in self._widths()]
        rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join("| " + " | ".join(_aligned(line, widths)) + " |" for line in (self.heads, rules, *self.rows))

    def _widths(self) -> list[int]:
        return [
            max([len(head), *(len(row[number]) for row in self.rows if number < len(row))])
            for number, head in enumerate(self.heads)
        ]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = cells
    return [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False))]
