"""Tables of text with aligned columns, plain or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Figures under a title, and what is to be said about them."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    notes: Sequence[str] = ()

    def text(self, markdown: bool = False) -> str:
        """Returns title, figures and notes."""
        start, bullet = ("### ", "- ") if markdown else ("", "* ")
        parts = [f"{start}{self.title}", format_table(self.header, self.rows, markdown)]
        if self.notes:
            parts.append("\n".join(f"{bullet}{note}" for note in self.notes))
        return "\n\n".join(parts)


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], markdown: bool = False
) -> str:
    """Returns aligned lines; the first column is flush left, the others flush right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        lines.append([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    # Flush left and flush right, in the language of Markdown.
    rule = ["-" * widths[0], *(("-" * (width - 1) + ":").rjust(2, "-") for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
