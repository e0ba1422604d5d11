"""Write documents in Markdown: for people, and for sites that show such files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from weakseg.artifacts import write_text
from weakseg.report.page import Cell, Table, shown

_RULE: Final = {True: "---:", False: "---"}


@dataclass(frozen=True)
class Section:
    """A part of a document, told in this order.

    Args:
        title: Its heading.
        lines: Paragraphs.
        points: A list.
        tables: Figures.
        code: Commands, shown as they are.
    """

    title: str
    lines: Sequence[str] = ()
    points: Sequence[str] = ()
    tables: Sequence[Table] = ()
    code: str = ""


@dataclass(frozen=True)
class Document:
    """A title, a paragraph on what it is about, and sections."""

    title: str
    lead: str
    sections: Sequence[Section] = field(default_factory=list)


def write_markdown(path: Path | str, document: Document) -> Path:
    """Write the document as a UTF-8 file, atomically. Same document, same bytes.

    Raises:
        ArtifactError: If the disk refuses.
    """
    write_text(path, as_markdown(document))
    return Path(path)


def as_markdown(document: Document) -> str:
    """Give the document as text; what would be read as markup in a text is escaped."""
    parts = [f"# {plain_text(document.title)}", plain_text(document.lead)]
    for section in document.sections:
        parts.append(f"## {plain_text(section.title)}")
        parts += [plain_text(line) for line in section.lines]
        if section.points:
            parts.append("\n".join(f"- {plain_text(point)}" for point in section.points))
        for table in section.tables:
            parts += _table(table)
        if section.code:
            parts.append(f"```\n{section.code.strip()}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def plain_text(text: str) -> str:
    """Escape what Markdown or HTML would take for markup, but not within `code`; join its lines."""
    joined = " ".join(text.split())
    pieces = re.split(r"(`[^`]*`)", joined)
    return "".join(
        piece if piece.startswith("`") else re.sub(r"([\\*_\[\]<>|])", r"\\\1", piece)
        for piece in pieces
    )


def _table(table: Table) -> list[str]:
    numbers = [
        all(_is_number(row[place]) for row in table.rows) for place in range(len(table.columns))
    ]
    lines = [
        _row(table.columns),
        "| " + " | ".join(_RULE[is_number] for is_number in numbers) + " |",
        *(_row([shown(cell) for cell in row]) for row in table.rows),
    ]
    return [f"**{plain_text(table.title)}**", plain_text(table.note), "\n".join(lines)]


def _row(cells: Sequence[str]) -> str:
    # Code would keep its bars, which end a cell.
    return "| " + " | ".join(plain_text(cell).replace("`", "'") for cell in cells) + " |"


def _is_number(cell: Cell) -> bool:
    return cell is None or isinstance(cell, int | float)
