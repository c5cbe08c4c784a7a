"""Tables as aligned text or as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows of words under headings; the first ``left`` columns are aligned to the left."""

    headings: Sequence[str]
    left: int = 1
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        if len(cells) != len(self.headings):
            raise ValueError(f"expected {len(self.headings)} cells, got {len(cells)}")
        self.rows.append(cells)

    def render(self, markdown: bool = False) -> str:
        """The table as lines of text."""
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        edge, between = ("| ", " | ") if markdown else ("", "  ")

        def line(cells: Sequence[str]) -> str:
            padded = [
                cell.ljust(width) if place < self.left else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            return (edge + between.join(padded) + edge[::-1]).rstrip()

        if markdown:
            rule = line(
                [
                    "-" * width if place < self.left else "-" * (width - 1) + ":"
                    for place, width in enumerate(widths)
                ]
            )
        else:
            rule = "-" * len(line(["x" * width for width in widths]))
        return "\n".join([line(self.headings), rule, *map(line, self.rows)])
