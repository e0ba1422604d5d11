"""Means and spreads are NumPy's; what is not known is left out, and no folder of a machine told."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pytest

from weakseg.artifacts import write_json
from weakseg.data import Frame
from weakseg.plans import StudyPlan
from weakseg.stages.ablation.frames import AblationFrames
from weakseg.stages.ablation.page import _cards, choose_pictures
from weakseg.stages.ablation.results import (
    Result,
    figures_of,
    lines_of,
    read_result,
    result_path,
    spread_of,
)
from weakseg.stages.ablation.study import Study, Unit, read_study
from weakseg.stages.ablation.table import (
    as_markdown,
    lines_csv,
    rules_table,
    short_table,
    status_lines,
    told,
    units_csv,
)
from weakseg.stages.ablation.unit_commands import Kitchen

ROWS = [
    {"name": "cnn", "group": "baseline", "stage1": "classifier=resnet50", "note": "as it comes"},
    {"name": "crf", "group": "step", "of": "cnn", "stage2": "refine=crf"},
    {"name": "sam", "group": "step", "of": "cnn", "stage2": "refine=sam", "needs": "sam"},
    {"name": "late", "group": "rounds", "of": "cnn", "stage2": "rounds=1"},
]


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    counts = {("train", 1): 8, ("train", 0): 9, ("val", 1): 3, ("val", 0): 2}
    frames = AblationFrames(
        tmp_path / "index.csv", tmp_path / "truth.csv", Path("/frames"), counts, ["val"]
    )
    study = read_study(StudyPlan(rows=ROWS), weights={}, only=[])
    return Kitchen(study, tmp_path, frames, ("", ""), ("", ""))


def result(row: str, seed: int, **figures: float | None) -> Result:
    named = {key.replace("__", "/"): value for key, value in figures.items()}
    group = next(str(one["group"]) for one in ROWS if one["name"] == row)
    commands = [f"python -m weakseg.stage2 output=OUT/{row}/{seed}"]
    return Result(Unit(row, seed), group, "f" * 64, commands, named, 1.5, "0.1.0", "abc")


@pytest.fixture
def results() -> list[Result]:
    return [
        result("cnn", 0, val__iou_per_image=0.30, val__auroc=0.9),
        result("cnn", 1, val__iou_per_image=0.40, val__auroc=None),
        result("cnn", 2, val__iou_per_image=0.35, val__auroc=0.8),
        result("crf", 1, val__iou_per_image=0.5),
    ]


def test_spread_is_that_of_numpy(rng: np.random.Generator) -> None:
    values = rng.random(5)
    found = spread_of([*values.tolist(), None, math.nan])
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert found.count == 5


def test_one_seed_has_no_spread_and_none_no_mean() -> None:
    one, none = spread_of([0.25]), spread_of([None])
    assert (one.mean, one.count) == (0.25, 1)
    assert math.isnan(one.std)
    assert math.isnan(none.mean)
    assert none.count == 0


def test_table_has_mean_std_and_number_of_every_figure(
    kitchen: Kitchen, results: list[Result]
) -> None:
    rows = list(csv.DictReader(io.StringIO(lines_csv(lines_of(kitchen, results)))))
    assert [row["row"] for row in rows] == ["cnn", "crf"]
    cnn, crf = rows
    assert cnn["seeds"] == "3"
    assert float(cnn["val/iou_per_image_mean"]) == pytest.approx(0.35)
    assert float(cnn["val/iou_per_image_std"]) == pytest.approx(0.05)
    assert (cnn["val/auroc_n"], crf["val/auroc_n"]) == ("2", "0")
    assert (crf["val/iou_per_image_std"], crf["val/auroc_mean"]) == ("", "")


def test_units_are_listed_with_their_seeds(results: list[Result]) -> None:
    rows = list(csv.DictReader(io.StringIO(units_csv(results))))
    assert [(row["row"], row["seed"]) for row in rows] == [
        ("cnn", "0"),
        ("cnn", "1"),
        ("cnn", "2"),
        ("crf", "1"),
    ]
    assert rows[1]["val/auroc"] == ""
    assert float(rows[3]["val/iou_per_image"]) == 0.5


def test_short_table_shows_what_any_row_knows(kitchen: Kitchen, results: list[Result]) -> None:
    columns, rows = short_table(lines_of(kitchen, results))
    assert columns == ["row", "seeds", "IoU, val", "AUROC, val"]
    assert rows[0] == ["cnn", "3", "0.350 ± 0.050", "0.850 ± 0.071"]
    assert rows[1] == ["crf", "1", "0.500", "\N{EN DASH}"]
    assert told(None) == "\N{EN DASH}"


def test_rules_are_compared_row_by_row_and_by_their_mean_gap(kitchen: Kitchen) -> None:
    results = [
        result("cnn", 0, val__rule__otsu__iou_per_image=0.3, val__rule__otsu__oracle_gap=0.1),
        result("crf", 0, val__rule__otsu__iou_per_image=0.4, val__rule__otsu__oracle_gap=0.3),
    ]
    columns, rows = rules_table(lines_of(kitchen, results))
    assert columns == ["row", "otsu"]
    last = ["mean gap to the oracle, 2 of 2 rows", "0.200"]
    assert rows == [["cnn", "0.300"], ["crf", "0.400"], last]
    assert rules_table(lines_of(kitchen, [result("cnn", 0, val__auroc=0.9)])) == ([], [])


def test_rules_are_compared_on_the_rows_in_which_all_could_choose(kitchen: Kitchen) -> None:
    def figures(**gaps: float | None) -> dict[str, float | None]:
        named = {f"val__rule__{rule}__oracle_gap": gap for rule, gap in gaps.items()}
        return named | {f"val__rule__{rule}__iou_per_image": 0.5 for rule in gaps}

    results = [
        result("cnn", 0, **figures(otsu=0.1, unimodal=0.2)),
        result("crf", 0, **figures(otsu=0.9, unimodal=None)),
        result("late", 0, **figures(otsu=0.9, unimodal=0.9)),
        result("late", 1, **figures(otsu=0.9, unimodal=None)),
    ]
    *_, last = rules_table(lines_of(kitchen, results))[1]
    assert last == ["mean gap to the oracle, 1 of 3 rows", "0.100", "0.200"]


def test_failed_frames_and_collapsed_students_are_told(kitchen: Kitchen) -> None:
    fine = {"failed_frames": 0.0, "student__collapsed": 0.0}
    results = [result("cnn", 0, val__auroc=0.9, **fine), result("crf", 0, val__auroc=0.9)]
    assert short_table(lines_of(kitchen, results))[0] == ["row", "seeds", "AUROC, val"]
    assert not any("ollapsed" in line for line in status_lines(kitchen, results, {}))
    results.append(result("late", 1, failed_frames=3.0, student__collapsed=1.0))
    columns, rows = short_table(lines_of(kitchen, results))
    assert columns[-2:] == ["failed frames", "collapsed"]
    assert rows[-1][-2:] == ["3.000", "1.000"]
    told_lines = status_lines(kitchen, results, {}, [Unit("crf", 2)])
    assert "Frames that a step failed on: late/seed1 (3)." in told_lines
    assert "Collapsed students: late/seed1." in told_lines
    assert told_lines[-1].startswith("Stale: crf/seed2. They were made with other settings")


def test_seconds_are_told_with_threads_and_commands_at_once(kitchen: Kitchen) -> None:
    made = dataclasses.replace(result("cnn", 0, seconds_per_image=1.0), threads=1, jobs=2)
    assert "Timed with threads: 1, commands at once: 2." in status_lines(kitchen, [made], {})[1]


def test_best_row_of_a_card_is_called_optimistic(kitchen: Kitchen, results: list[Result]) -> None:
    notes = [card.note for card in _cards(lines_of(kitchen, results))]
    assert notes[0] == "IoU on val of cnn, chosen by the masks of val: optimistic"


def test_text_says_what_was_measured_and_what_is_missing(
    kitchen: Kitchen, results: list[Result]
) -> None:
    text = as_markdown(
        kitchen,
        lines_of(kitchen, results),
        results,
        title="What each step is worth",
        failed={Unit("late", 0): "no reason"},
    )
    assert text.startswith("# What each step is worth\n")
    assert "train: 8 with smoke and 9 without, val: 3 with smoke and 2 without" in text
    assert "Seeds: 0, 1, 2." in text
    assert "Left out: sam (weights.sam is not given)." in text
    assert "Failed: late/seed0." in text
    assert "| cnn | 3 | 0.350 ± 0.050 |" in text
    assert "- cnn: as it comes" in text
    assert "# crf\npython -m weakseg.stage2 output=OUT/crf/1" in text
    assert str(kitchen.output) not in text


def test_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    unit = Unit("cnn", 0)
    path = result_path(tmp_path, unit)
    assert read_result(path) is None
    made = result("cnn", 0, val__iou_per_image=0.5, val__auroc=None)
    write_json(path, made.to_json())
    assert read_result(path) == made
    path.write_text(path.read_text()[:-20])
    assert read_result(path) is None


def test_figures_come_from_what_the_commands_wrote(kitchen: Kitchen) -> None:
    unit = Unit("crf", 0)
    measured = {
        "iou_per_image": 0.4,
        "oracle_iou_per_image": 0.6,
        "oracle_gap_per_image": 0.15,
        "auroc": None,
        "frames": 5,
    }
    run = kitchen.stage2_folder(unit)
    rules = [
        {"rule": name, "threshold": 0.5, "iou_per_image": iou, "oracle_gap": 0.6 - iou}
        | {"false_alarm_share": None, "note": ""}
        for name, iou in (("own", 0.45), ("otsu", 0.3), ("oracle", 0.6))
    ]
    found = {"figures": measured, "by_rule": rules}
    write_json(run / "evaluation" / "ablation-val.json", found)
    times = {"seconds_per_frame/crf": 0.5, "frames_per_second/crf": 2.0, "seconds": 99.0}
    troubles = {"failed_frames": 2.0, "student/collapsed": True}
    write_json(run / "summary.json", {"threshold": 0.55, **times, **troubles})
    cams = {"seconds_per_frame/cams": 0.25, "val/auroc": 0.9}
    write_json(kitchen.cams_for(unit) / "summary.json", cams)
    found = figures_of(kitchen, unit)
    assert found["val/rule/otsu/iou_per_image"] == 0.3
    assert found["val/rule/otsu/oracle_gap"] == pytest.approx(0.3)
    assert not any("/own/" in key or "/oracle/" in key for key in found)
    assert found["val/iou_per_image"] == 0.4
    assert found["val/iou_at_threshold"] == pytest.approx(0.45)
    assert found["val/auroc"] is None
    assert found["threshold"] == 0.55
    assert found["seconds_per_image"] == 0.75
    assert found["frames_per_second/crf"] == 2.0
    assert found["failed_frames"] == 2.0
    assert found["student/collapsed"] == 1.0
    assert "seconds" not in found
    assert "val/frames" not in found


def test_seconds_are_of_all_cams_that_are_averaged(kitchen: Kitchen) -> None:
    rows = {**kitchen.study.rows}
    rows["crf"] = dataclasses.replace(rows["crf"], stage2="consistency=resnet_to_vit")
    rows["late"] = dataclasses.replace(rows["late"], of="crf", also="cnn")
    both = dataclasses.replace(kitchen, study=Study(rows), frames=_unjudged(kitchen))
    unit = Unit("late", 0)
    for run, times in (
        (both.cams_of(unit), {"seconds_per_frame/cam": 0.5}),
        (both.cams_of(Unit("cnn", 0)), {"seconds_per_frame/cam": 0.25}),
        (both.stage2_folder(unit), {"seconds_per_frame/crf": 1.0, "threshold": 0.5}),
    ):
        write_json(run / "summary.json", times)
    found = figures_of(both, unit)
    assert found["seconds_per_image"] == 1.75
    assert found["seconds_per_frame/cam"] == 0.5
    assert found["seconds_per_frame/cam/cnn"] == 0.25


def _unjudged(kitchen: Kitchen) -> AblationFrames:
    return dataclasses.replace(kitchen.frames, judged=[])


def test_pictures_are_chosen_by_hash_and_show_both_kinds() -> None:
    frames = [
        Frame(f"f{i}", Path(f"/f/{i}"), i % 2, "s", "val" if i < 20 else "train") for i in range(40)
    ]
    chosen = choose_pictures(frames, 6)
    assert [frame.label for frame in chosen] == [1, 1, 1, 1, 0, 0]
    assert {frame.split for frame in chosen} == {"val"}
    assert chosen == choose_pictures(frames[::-1], 6)
    assert len(choose_pictures(frames[:1], 6)) <= 1
