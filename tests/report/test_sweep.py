"""The page of a sweep, in text and in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import page

from weakseg.report.sweep import SweepData, sweep_page


def made(count: int) -> SweepData:
    refinements = ("none", "crf", "<b>&")
    points: list[dict[str, Any]] = [
        {
            "number": k,
            "name": f"refine={refinements[k % 3]},seed={k // 3}",
            "parameters": {"refine": refinements[k % 3], "seed": k // 3},
            "status": "finished" if k % 7 else "failed",
            "seconds": 10.0 * (k % 5),
            "metric": 0.3 + 0.1 * (k % 3) + 0.001 * k if k % 7 else None,
            "figures": {"val/iou": 0.3 + 0.1 * (k % 3)} if k % 7 else {},
            "run": f"points/{k}",
            "command": f"python -m weakseg.stage2 refine={refinements[k % 3]} seed={k // 3}",
            "why": "" if k % 7 else "error: out of memory",
        }
        for k in range(count)
    ]
    groups = [
        {
            "name": f"refine={name}",
            "parameters": {"refine": name},
            "points": list(range(k, count, 3)),
            "mean": 0.3 + 0.1 * k,
            "spread": 0.01,
            "half_width": None,
            "seeds": count // 3,
        }
        for k, name in enumerate(refinements)
    ]
    dot = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    return SweepData(
        title="Sweep <test>",
        status=["Best: refine=crf </script>.", "all finished"],
        metric="val/iou",
        sign=1.0,
        groups=groups,
        importance={"refine": 0.9, "seed": 0.0},
        points=points,
        curves={
            "val/auroc": {str(k): [[1, 0.5], [2, 0.6 + 0.001 * k]] for k in range(count)},
        },
        pictures={
            "frames": [{"id": "a", "label": "smoke", "picture": dot}],
            "of": {str(k): [dot] for k in range(min(count, 4))},
        },
    )


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(count: int) -> Path:
        path = tmp_path / f"sweep{count}.html"
        path.write_text(sweep_page(made(count)), encoding="utf-8")
        return path

    return write


def test_the_page_needs_nothing_from_elsewhere_and_no_name_breaks_out() -> None:
    text = sweep_page(made(6))
    assert "http://www.w3.org/2000/svg" in text
    assert text.replace("http://www.w3.org/2000/svg", "").count("http") == 0
    assert text.count("</script>") == 2, "data and code; a name cannot end either"
    assert "Sweep &lt;test&gt;" in text and "refine=&lt;b&gt;&amp;" in text


@pytest.mark.parametrize("count", [3, 500])
def test_a_sweep_is_sorted_filtered_and_chosen_from(written: Any, count: int) -> None:
    with page() as shown:
        wrong: list[str] = []
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.goto(written(count).as_uri())
        rows = shown.locator("#points tbody tr")
        assert rows.count() == count
        metrics = [float(t) for t in column(shown, "val/iou") if t != "\u2013"]
        assert metrics == sorted(metrics, reverse=True), "the best first"
        shown.click("#points th:has-text('seconds')")
        seconds = [float(t) for t in column(shown, "seconds")]
        assert seconds == sorted(seconds)
        shown.fill("#filter", "crf seed=0")
        assert rows.count() == 1
        assert shown.inner_text("#count").startswith(f"1 of {count} points")
        rows.first.click()
        assert shown.inner_text("#commands").endswith("refine=crf seed=0")
        assert shown.locator("#curves path.curve").count() == 1
        assert shown.locator("#pictures img").count() == 2, "the frame, and the chosen point's"
        heads = shown.locator("#pictures th").all_inner_texts()
        assert heads[1].split("\n") == ["1: 0.4010", "refine=crf", "seed=0"]
        assert shown.locator("#parallel path.chosen").count() == 1
        shown.fill("#filter", "")
        shown.click("#none")
        assert rows.count() == count
        assert shown.locator("#groups tr.best").inner_text().startswith("refine=<b>&")
        assert wrong == []


def test_a_range_of_an_axis_keeps_what_lies_in_it(written: Any) -> None:
    with page() as shown:
        shown.goto(written(60).as_uri())
        area = shown.locator("#parallel rect.catch").last
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        x = box["x"] + box["width"] / 2
        shown.mouse.move(x, box["y"] + 2)
        shown.mouse.down()
        shown.mouse.move(x, box["y"] + box["height"] / 4, steps=4)
        shown.mouse.up()
        kept = [float(text) for text in column(shown, "val/iou")]
        known = [one["metric"] for one in made(60).points if one["metric"] is not None]
        assert 0 < len(kept) < len(known)
        low = min(known) + 0.7 * (max(known) - min(known))
        assert all(one > low for one in kept)
        shown.mouse.click(x, box["y"] + 40)
        assert shown.locator("#points tbody tr").count() == 60


def column(shown: Any, name: str) -> list[str]:
    names = [text.strip() for text in shown.locator("#points thead th").all_inner_texts()]
    place = next(k for k, text in enumerate(names) if text.startswith(name)) + 1
    found: list[str] = shown.locator(f"#points tbody td:nth-child({place})").all_inner_texts()
    return found
