"""Documents are Markdown whose texts cannot become markup."""

from __future__ import annotations

import math
from pathlib import Path

from weakseg.report import Document, Section, Table, as_markdown, write_markdown
from weakseg.report.markdown import plain_text


def test_markup_in_texts_is_escaped_but_code_is_kept() -> None:
    assert plain_text("a_b *c* <d> [e] |") == r"a\_b \*c\* \<d\> \[e\] \|"
    assert plain_text("take `a_b|c` now_") == r"take `a_b|c` now\_"
    assert plain_text("two\n  lines") == "two lines"


def test_document_tells_all_parts_in_order() -> None:
    table = Table("T", ["what", "how much"], [["a|b", 0.5], ["`c", math.nan]], note="Noted.")
    text = as_markdown(
        Document("D", "Lead.", [Section("S", ["Line."], ["p1", "p2"], [table], "run it")])
    )
    marks = ["# D", "Lead.", "## S", "Line.", "- p1\n- p2", "**T**", "Noted.", "run it"]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows == [
        "| what | how much |",
        "| --- | ---: |",
        "| a\\|b | 0.500 |",
        "| 'c | \N{EN DASH} |",
    ]


def test_a_table_without_rows_keeps_its_head() -> None:
    text = as_markdown(Document("D", "", [Section("S", tables=[Table("T", ["a", "b"], [])])]))
    assert "| a | b |" in text


def test_same_document_gives_the_same_file(tmp_path: Path) -> None:
    document = Document("D", "Lead.", [Section("S")])
    path = write_markdown(tmp_path / "D.md", document)
    assert path.read_text(encoding="utf-8") == as_markdown(document)
    assert [item.name for item in tmp_path.iterdir()] == ["D.md"]
