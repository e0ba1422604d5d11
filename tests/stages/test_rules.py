"""Rules choose without masks, and what each loses is measured with them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doors import Chain, Doors
from PIL import Image

from weakseg.arrays import ScoreMap
from weakseg.artifacts import load_run, plain, read_scores
from weakseg.data import Frame
from weakseg.plans import HardwarePlan
from weakseg.refine import (
    EvidenceStatistics,
    FalseAlarmThreshold,
    FixedThreshold,
    OtsuThreshold,
    ThresholdRule,
)
from weakseg.stages.evaluation.measuring import Evaluation, as_json, evaluate
from weakseg.stages.evaluation.rules import COLUMNS, by_rule, rule_lines, rule_tables
from weakseg.stages.evidence import EvidenceReader
from weakseg.stages.products import open_product, statistics_of
from weakseg.stages.scores import score_path

SIDE = 16
RULES: dict[str, ThresholdRule] = {
    "otsu": OtsuThreshold(),
    "false_alarm": FalseAlarmThreshold(target=0.0),
    "fixed": FixedThreshold(0.75),
}


def frame(name: str, label: int) -> Frame:
    return Frame(name, Path(f"/frames/{name}.png"), label, name, "test")


FRAMES = [frame("a", 1), frame("b", 1), frame("c", 0), frame("d", 0)]


@pytest.fixture
def scores(rng: np.random.Generator) -> dict[str, ScoreMap]:
    """Of a and b high where their smoke is; of d a third is alarmingly high."""
    found = {name: 0.6 * rng.random((SIDE, SIDE), dtype=np.float32) for name in "abcd"}
    found["a"][:8] += 0.3
    found["b"][:4] += 0.4
    found["d"][:5] += 0.35
    return found


@pytest.fixture
def masks(tmp_path: Path) -> dict[Path, Path]:
    """Half of a is smoke, and a quarter of b; a row of b counts for nothing."""
    found = {}
    for name, rows in {"a": 8, "b": 4}.items():
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:rows] = 1
        if name == "b":
            mask[-1] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
        found[Path(f"/frames/{name}.png")] = tmp_path / f"{name}.png"
    return found


@pytest.fixture
def result(scores: dict[str, ScoreMap], masks: dict[Path, Path]) -> Evaluation:
    return evaluate(FRAMES, masks, lambda f: (scores[f.id], 0.5), 0.5, draws=0)


@pytest.fixture
def statistics(rng: np.random.Generator) -> EvidenceStatistics:
    """Of frames that are not measured."""
    found = EvidenceStatistics()
    for number in range(6):
        seen = 0.4 * rng.random((SIDE, SIDE), dtype=np.float32)
        if number % 2:
            seen[:6] += 0.4
        found.add(f"train{number}", seen, label=number % 2, probability=0.9 * (number % 2))
    return found


def brute_iou(scores: Mapping[str, ScoreMap], threshold: float) -> float:
    cut = math.ceil(threshold * 256) / 256
    overlaps = []
    for name, rows in {"a": 8, "b": 4}.items():
        real = np.zeros((SIDE, SIDE), bool)
        real[:rows] = True
        known = np.ones((SIDE, SIDE), bool)
        known[-1] = name == "a"
        found = (scores[name] >= cut) & known
        overlaps.append((found & real).sum() / (found | real).sum())
    return float(np.mean(overlaps))


def test_rows_equal_a_brute_force(
    result: Evaluation, statistics: EvidenceStatistics, scores: dict[str, ScoreMap]
) -> None:
    rows = {row["rule"]: row for row in by_rule(RULES, statistics, result, own=0.5)}
    best = max(brute_iou(scores, level / 256) for level in range(256))
    assert list(rows) == ["own", "otsu", "false_alarm", "fixed", "oracle"]
    for name, row in rows.items():
        threshold = float(row["threshold"])
        if name in RULES:
            assert threshold == RULES[name].choose(statistics).threshold
        assert row["iou_per_image"] == pytest.approx(brute_iou(scores, threshold))
        assert row["oracle_gap"] == pytest.approx(best - brute_iou(scores, threshold))
        cut = math.ceil(threshold * 256) / 256
        alarms = [(scores[clear] >= cut).mean() > 0.001 for clear in "cd"]
        assert row["false_alarm_share"] == np.mean(alarms)
    assert rows["own"]["threshold"] == 0.5
    assert rows["oracle"]["oracle_gap"] == 0
    # The rules differ here, or the test would tell nothing.
    assert len({row["threshold"] for row in rows.values()}) == len(rows)
    assert {row["false_alarm_share"] for row in rows.values()} == {0.5, 1.0}


def test_no_row_beats_the_oracle(result: Evaluation, statistics: EvidenceStatistics) -> None:
    every = {f"at {cut}": FixedThreshold(cut) for cut in np.linspace(0.01, 1, 37)}
    rows = by_rule(every, statistics, result, own=0.0)
    assert len(rows) == 39
    assert min(float(row["oracle_gap"]) for row in rows) == 0


def test_masks_do_not_move_any_threshold(
    result: Evaluation, statistics: EvidenceStatistics, scores: dict[str, ScoreMap]
) -> None:
    other = evaluate(FRAMES, {}, lambda f: (1 - scores[f.id], 0.5), 0.5, draws=0)
    chosen = [by_rule(RULES, statistics, one, own=0.5)[1:4] for one in (result, other)]
    assert [row["threshold"] for row in chosen[0]] == [row["threshold"] for row in chosen[1]]


def test_rule_that_cannot_choose_says_why(result: Evaluation) -> None:
    smoke_only = EvidenceStatistics()
    smoke_only.add("a", np.full((4, 4), 0.5, np.float32), label=1, probability=1.0)
    rows = {row["rule"]: row for row in by_rule(RULES, smoke_only, result, own=0.5)}
    assert "no smoke-free frame" in str(rows["false_alarm"]["note"])
    assert all(math.isnan(float(rows["false_alarm"][key])) for key in COLUMNS)
    assert math.isfinite(float(rows["otsu"]["iou_per_image"]))
    told = json.loads(json.dumps(plain(list(rows.values())), allow_nan=False))
    assert told[2]["threshold"] is None


def test_without_masks_there_are_alarms_but_no_iou(
    statistics: EvidenceStatistics, scores: dict[str, ScoreMap]
) -> None:
    clear = evaluate(FRAMES[2:], {}, lambda f: (scores[f.id], 0.5), 0.5, draws=0)
    own, *_, oracle = by_rule(RULES, statistics, clear, own=0.5)
    assert math.isnan(float(own["iou_per_image"]))
    assert own["false_alarm_share"] == 1
    assert math.isnan(float(oracle["threshold"]))


def test_rows_reach_json_table_and_log(result: Evaluation, statistics: EvidenceStatistics) -> None:
    rows = by_rule(RULES, statistics, result, own=0.5, own_rule="mixture")
    told = replace(result, rules=rows)
    assert [row["rule"] for row in as_json(told)["by_rule"]] == [row["rule"] for row in rows]
    assert rows[0]["note"] == "mixture"
    (table,) = rule_tables(told)
    assert len(table.rows) == len(rows)
    lines = rule_lines(rows)
    assert len(lines) == len(rows) + 1
    assert len({len(line) for line in lines}) == 1
    assert rule_tables(result) == []
    assert rule_lines([]) == []


# ---- on finished runs


def test_statistics_count_train_and_val_and_nothing_else(chain: Chain) -> None:
    run = load_run(chain.run_of("stage2"))
    found = {frame.frame_id: frame for frame in statistics_of(run).frames()}
    rows = {row["id"]: row for row in run.frames}
    assert {rows[name]["split"] for name in found} == {"train", "val"}
    assert len(found) == sum(row["split"] != "test" for row in rows.values())
    for name, one in found.items():
        scores = read_scores(score_path(run, name))
        assert one.label == int(rows[name]["label"])
        assert one.shares_above[128] == (scores >= 0.5).mean()


def test_statistics_of_a_segmenter_are_of_its_val_frames(chain: Chain) -> None:
    run = load_run(chain.run_of("stage3"))
    splits = {row["id"]: row["split"] for row in run.frames}
    assert {splits[frame.frame_id] for frame in statistics_of(run).frames()} == {"val"}


def test_statistics_of_cams_are_of_their_evidence(chain: Chain) -> None:
    run = load_run(chain.run_of("stage1"))
    reader = EvidenceReader(run)
    for one in statistics_of(run).frames():
        evidence, probability = reader(one.frame_id)
        assert one.counts.sum() == evidence.size
        assert one.probability == probability


@pytest.mark.parametrize(
    ("stage", "name", "rule"),
    [
        # As conf/threshold has them.
        ("stage2", "false_alarm", FalseAlarmThreshold(0.02, floor=0.5, ceiling=0.9)),
        ("stage3", "fixed", FixedThreshold(0.5)),
    ],
)
def test_the_runs_own_rule_chooses_the_runs_own_threshold(
    chain: Chain, stage: str, name: str, rule: ThresholdRule
) -> None:
    run = load_run(chain.run_of(stage))
    product = open_product(run, HardwarePlan(accelerator="cpu"))
    assert product.rule == name
    assert rule.choose(statistics_of(run)).threshold == product.threshold


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_evaluate_compares_the_rules_of_every_stage(
    doors: Doors, chain: Chain, tiny_folder: Path, tmp_path: Path, stage: str
) -> None:
    shutil.copytree(chain.root / "runs", tmp_path / "runs")
    run = tmp_path / "runs" / stage / "tiny"
    given = ("data=index", f"data.index={tiny_folder / 'index.csv'}", "split=val", "name=rules")
    few = ("resamples=10", "report_frames=1", "rules.size.expected_share=0.2")
    done = doors.must("evaluate", f"run={run}", *given, *few, cwd=tmp_path)
    told = json.loads((run / "evaluation" / "rules.json").read_text())
    rows = {row["rule"]: row for row in told["by_rule"]}
    names = ["own", "false_alarm", "otsu", "mixture", "size", "highest", "fixed", "oracle"]
    assert list(rows) == names
    best = told["figures"]["oracle_iou_per_image"]
    for row in rows.values():
        assert row["iou_per_image"] + row["oracle_gap"] == pytest.approx(best)
        assert row["oracle_gap"] >= 0
        assert 0 <= row["false_alarm_share"] <= 1
    assert rows["own"]["threshold"] == told["figures"]["threshold"]
    assert rows["own"]["oracle_gap"] == pytest.approx(told["figures"]["oracle_gap_per_image"])
    assert "By rule for the threshold" in (run / "evaluation" / "rules.html").read_text()
    assert all(f"{name} " in done.out + done.err for name in names)
