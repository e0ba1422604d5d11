"""The page holds everything itself, escapes what it is given, and never changes by itself."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakseg.arrays import FrameArray, Mask
from weakseg.errors import ArtifactError
from weakseg.report import (
    Card,
    Dot,
    Mark,
    PanelRow,
    Plots,
    Report,
    Scatter,
    Table,
    overlay,
    write_report,
)
from weakseg.report.charts import charts, ticks
from weakseg.report.page import render, shown

VOID = {"meta", "link", "img", "br", "line", "path", "rect", "input"}


class Checker(HTMLParser):
    """Collects tags and addresses, and notices tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def report(plume: FrameArray, plume_mask: Mask) -> Report:
    panel = PanelRow(
        "best", "IoU 0.9", [("frame", plume), ("prediction", overlay(plume, plume_mask))]
    )
    return Report(
        title="stage 3 <deeplabv3plus>",
        status=["test, read once"],
        cards=[Card("IoU per image", 0.53124, "smoke frames"), Card("unknown", float("nan"))],
        curves={"loss/train": [(1, 1.0), (2, 0.5)], "loss/val": [(1, float("nan")), (2, 0.75)]},
        panels=[panel],
        false_alarms=[],
        tables=[Table("pixels", ["split", "frames", "IoU"], [["test", 1286, np.float32(0.5)]])],
        config="path: </pre><script>alert(1)</script>",
    )


def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def test_page_needs_no_network_and_no_script(tmp_path: Path, report: Report) -> None:
    path = write_report(tmp_path, report)
    assert path == tmp_path / "report.html"
    page = path.read_text(encoding="utf-8")
    checker = parsed(page)
    assert "script" not in checker.tags
    assert all(address.startswith("data:") for address in checker.addresses)
    assert "http" not in page
    assert "url(" not in page
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_page_is_escaped(report: Report) -> None:
    page = render(report)
    assert "stage 3 &lt;deeplabv3plus&gt;" in page
    assert "&lt;/pre&gt;&lt;script&gt;" in page


def test_page_tells_headline_before_curves_before_frames_before_tables(report: Report) -> None:
    page = render(report)
    marks = [page.index(mark) for mark in ("0.531", "<svg", "<img", "False alarms", "<table")]
    assert marks == sorted(marks)
    assert "None: no smoke was seen on a frame without smoke." in page
    assert "<details><summary>" in page
    assert page.count("<svg") == 1
    assert page.count('class="path"') == 1  # the curve of one finite point is a dot


@pytest.mark.parametrize(
    ("colours", "told"),
    [
        ((), []),
        (("mask",), ["smoke in a mask", "ignored"]),
        (("comparison",), ["found", "false alarm", "missed"]),
    ],
)
def test_only_the_colours_of_the_pictures_are_explained(
    report: Report, colours: tuple[str, ...], told: list[str]
) -> None:
    page = render(replace(report, colours=colours))
    keys = page[page.index("<h2>Frames") :].split("</ul>")[0]
    words = ("smoke in a mask", "ignored", "found", "false alarm", "missed")
    assert [word for word in words if word in keys] == told
    assert "score 0" in keys


def test_unknown_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="colours must be one of mask, comparison, got 'truth'"):
        Report(title="", colours=("truth",))


def test_same_report_gives_the_same_bytes(tmp_path: Path, report: Report) -> None:
    first = write_report(tmp_path / "a", report).read_bytes()
    assert write_report(tmp_path / "b", report).read_bytes() == first


def test_empty_report_is_a_page(tmp_path: Path) -> None:
    page = write_report(tmp_path, Report("nothing yet"), name="x.html").read_text(encoding="utf-8")
    parsed(page)
    assert "False alarms" not in page
    assert "<svg" not in page


def test_pictures_are_small(rng: np.random.Generator) -> None:
    large = rng.integers(0, 255, (900, 1600, 3)).astype(np.uint8)
    page = render(Report("large", panels=[PanelRow("a", "", [("frame", large)])]))
    content = re.search(r"data:image/jpeg;base64,([^\"]+)", page)
    assert content is not None
    assert Image.open(io.BytesIO(base64.b64decode(content[1]))).size == (320, 180)


def test_table_of_uneven_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns, but a row of 1"):
        Table("t", ["a", "b"], [[1]])


def test_links_lead_to_files_beside_the_page_only() -> None:
    page = render(Report("linked", links={"the card": "MODEL_CARD.md", "up": "../x.md"}))
    assert '<a href="MODEL_CARD.md">the card</a>' in page
    for address in ("https://a.b", "//a.b", "/etc/x", "file:x"):
        with pytest.raises(ValueError, match="files beside them only"):
            Report("linked", links={"away": address})


def test_facts_texts_and_plots_are_told_and_escaped() -> None:
    plot = Scatter("IoU <1>", [Dot(0.1, 0.5, "frame <a>")], x_label="x", y_label="y")
    report = Report(
        "all",
        facts={"Threshold": "chosen <without> masks"},
        plots=[Plots("Where it fails", [plot], "A dot is a frame.")],
        texts={"Model card": "# card <b>"},
        curves={"loss/train": [(1, 2.0), (2, 1.0)]},
        marks={"loss": Mark(2, "epoch 2 was kept"), "other": Mark(1, "not drawn")},
    )
    page = render(report)
    parsed(page)
    for text in ("chosen &lt;without&gt; masks", "IoU &lt;1&gt;", "frame &lt;a&gt;"):
        assert text in page
    assert "# card &lt;b&gt;" in page
    assert "epoch 2 was kept" in page
    assert "not drawn" not in page


def test_marks_beyond_the_curve_are_not_drawn() -> None:
    (chart,) = charts({"loss/train": [(1, 4.0), (2, 1.0)]}, {"loss": Mark(3, "later")})
    assert chart.mark is None


def test_refusing_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ArtifactError, match="a file stands where a folder is needed"):
        write_report(tmp_path / "run", Report("x"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.53124, "0.531"),
        (0.0, "0.000"),
        (1234, "1\u202f234"),
        (1e-5, "1e-05"),
        (0.0006265, "0.0006"),
        (1234.5, "1234"),
        (float("nan"), "\u2013"),
        (None, "\u2013"),
        (np.float32(0.5), "0.500"),
        (True, "yes"),
        ("1.6 %", "1.6 %"),
    ],
)
def test_figures_are_written_for_people(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.31, 0.47), (-3, 2e5), (5, 5), (0, 0)])
def test_ticks_are_few_and_cover_the_range(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 8
    assert marks[0] <= low
    assert marks[-1] >= high


def test_points_lie_within_the_chart_and_up_is_more() -> None:
    (chart,) = charts({"loss/train": [(1, 4.0), (2, 1.0)], "loss/val": [(1, 2.0)], "none": []})
    assert chart.title == "loss"
    assert [line.name for line in chart.series] == ["train", "val"]
    numbers = [float(n) for n in re.findall(r"[\d.]+", chart.series[0].path)]
    (x1, y1), (x2, y2) = numbers[:2], numbers[2:]
    assert chart.left == x1 < x2 == chart.right
    assert chart.top <= y1 < y2 <= chart.bottom
