"""Runs are compared on the same frames by the same masks, in pairs, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_runs import finish_run, shifted, truth_of, write_data

from weakseg.arrays import Mask, ScoreMap
from weakseg.artifacts import ArtifactError
from weakseg.data import Frame, IndexSource
from weakseg.launch import _rewrite_arguments
from weakseg.metrics import PixelCounts, count, iou
from weakseg.plans import ComparePlan, EvaluatePlan, HardwarePlan
from weakseg.stages.comparison import command as comparison
from weakseg.stages.comparison.figures import Difference, sentence
from weakseg.stages.comparison.runs import folder_name, name_groups, short_names
from weakseg.stages.evaluation import command as evaluation

CPU = HardwarePlan(accelerator="cpu", threads=1)
SEEDS = (0, 1, 2)


def spoilt(frame: Frame, truth: Mask) -> ScoreMap:
    """Nearly perfect, but blind in scene 4 and alarmed by the clear scene 5."""
    scores = (0.1 + 0.8 * truth).astype(np.float32)
    if frame.scene == "s4":
        scores[:] = 0.1
    if frame.scene == "s5":
        scores[:10, :10] = 0.9
    return scores


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on one data set: near, far and spoilt, and three seeds of two kinds."""
    root = tmp_path_factory.mktemp("compared")
    index = write_data(root / "data")
    finish_run(root / "runs" / "near", "stage2", index, shifted(1))
    finish_run(root / "runs" / "far", "stage2", index, shifted(4))
    finish_run(root / "runs" / "spoilt", "stage2", index, spoilt)
    for seed in SEEDS:
        finish_run(root / f"runs/weak{seed}", "stage2", index, shifted(3 + seed), seed=seed)
        finish_run(root / f"runs/full{seed}", "stage2", index, shifted(1 + seed), seed=seed)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of the runs, to be written into; the frames stay where they are."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    (tmp_path / "data").symlink_to(made / "data")
    return tmp_path


def compared(root: Path, *runs: str, **settings: Any) -> dict[str, Any]:
    given = {"resamples": 100, "report_frames": 2, "hardware": CPU, "output": str(root / "out")}
    given |= {"runs": [str(root / "runs" / run) for run in runs]} | settings
    path = comparison.run(ComparePlan(**given), {})
    return dict(json.loads(path.read_text()))


def figure(told: dict[str, Any], name: str, which: int = 0) -> dict[str, Any]:
    rows = told["comparisons"][which]["figures"]
    return dict(next(row for row in rows if row["figure"] == name))


def overlaps(root: Path, run: str) -> dict[str, PixelCounts]:
    """Count a run's masks against the truth, frame by frame."""
    frames = IndexSource(str(root / "data" / "index.csv")).frames()
    scores = {"near": shifted(1), "far": shifted(4), "spoilt": spoilt}[run]
    truths = {frame.id: truth_of(frame) for frame in frames}
    return {
        frame.id: count((scores(frame, truths[frame.id]) >= 0.5).astype(np.uint8), truths[frame.id])
        for frame in frames
    }


def test_differences_and_intervals_agree_with_a_brute_force(root: Path) -> None:
    told = compared(root, "far", "near")
    far, near = overlaps(root, "far"), overlaps(root, "near")
    smoky = [name for name in far if far[name].tp + far[name].fn]
    gaps = {name: iou(near[name]) - iou(far[name]) for name in smoky}
    found = figure(told, "iou_per_image")
    assert found["difference"] == pytest.approx(np.mean(list(gaps.values())))
    assert found["base"] == pytest.approx(np.mean([iou(far[name]) for name in smoky]))
    # Scenes drawn with replacement, each with all of its frames, the same for both runs.
    scenes = [f"frame{k}" for k in range(6)]
    times = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=100)
    drawn = []
    for draw in times:
        listed = [
            gap
            for scene, often in zip(scenes, draw, strict=True)
            for name, gap in gaps.items()
            if name.startswith(scene)
            for _ in range(often)
        ]
        if listed:
            drawn.append(np.mean(listed))
    np.testing.assert_allclose(
        (found["low"], found["high"]), np.quantile(drawn, [0.025, 0.975]), atol=1e-9
    )
    assert found["verdict"] == "better"
    pooled = iou(sum(near.values(), PixelCounts())) - iou(sum(far.values(), PixelCounts()))
    assert figure(told, "iou_pooled")["difference"] == pytest.approx(pooled)


def test_the_other_way_round_all_signs_change(root: Path) -> None:
    forth, back = compared(root, "far", "near"), compared(root, "near", "far")
    for one, two in zip(
        forth["comparisons"][0]["figures"], back["comparisons"][0]["figures"], strict=True
    ):
        assert one["difference"] == -two["difference"]
        assert (one["low"], one["high"]) == pytest.approx((-two["high"], -two["low"]))
        assert {one["verdict"], two["verdict"]} in ({"better", "worse"}, {"unsure"})


def test_worst_regressions_come_first_and_are_shown(root: Path) -> None:
    told = compared(root, "near", "spoilt")
    frames = told["comparisons"][0]["frames"]
    smoky = [row for row in frames if row["measure"] == "iou"]
    assert {row["scene"] for row in smoky[:3]} == {"s4"}
    assert all(row["other"] == 0 for row in smoky[:3])
    alarms = [row for row in frames if row["measure"] == "false_area" and row["gain"] < 0]
    assert {row["scene"] for row in alarms} == {"s5"}
    assert alarms[0]["other"] == pytest.approx(100 / 2560)
    assert told["comparisons"][0]["by_scene"][0]["scene"] == "s4"
    page = (root / "out" / "comparison.html").read_text()
    shown = [
        f"{title}: {frame}" for title, frame in (("worse", "frame4"), ("more alarm", "frame5"))
    ]
    assert all(text in page for text in shown)
    # Frame, truth and two masks: of two regressions, one gain and two alarms.
    assert page.count("data:image/") == 4 * 5
    assert figure(told, "false_alarm_share")["difference"] == 0.5


def test_strata_of_the_difference_hold_all_frames_with_smoke(root: Path) -> None:
    told = compared(root, "far", "near")["comparisons"][0]
    for by in ("by_size", "by_opacity"):
        rows = told[by]
        assert sum(row["frames"] for row in rows) == 12
        mean = sum(row["frames"] * row["difference"] for row in rows) / 12
        assert mean == pytest.approx(told["figures"][0]["difference"])
        assert all(row["low"] <= row["difference"] <= row["high"] for row in rows)


def test_all_runs_are_compared_with_the_first(root: Path) -> None:
    told = compared(root, "near", "far", "spoilt")
    assert [(one["base"], one["other"]) for one in told["comparisons"]] == [
        ("near", "far"),
        ("near", "spoilt"),
    ]
    assert list(told["groups"]) == ["near", "far", "spoilt"]


# ---- several seeds


def of_seeds(root: Path, *orders: str, **settings: Any) -> dict[str, Any]:
    names = ("weak", "full")
    groups = {
        name: [str(root / "runs" / f"{name}{seed}") for seed in order]
        for name, order in zip(names, orders, strict=False)
    }
    return compared(root, groups=groups, **settings)


def test_seeds_are_merged_into_mean_and_spread(root: Path) -> None:
    told = of_seeds(root, "012", "012")
    for name in ("weak", "full"):
        merged = told["groups"][name]["figures"]["iou_per_image"]
        assert len(merged["values"]) == 3
        assert merged["mean"] == pytest.approx(np.mean(merged["values"]))
        assert merged["std"] == pytest.approx(np.std(merged["values"], ddof=1))
        assert merged["low"] <= merged["mean"] <= merged["high"]
        assert told["groups"][name]["seeds"] == [0, 1, 2]
    gap = figure(told, "iou_per_image")
    values = [
        told["groups"][name]["figures"]["iou_per_image"]["values"] for name in ("weak", "full")
    ]
    assert gap["pairs"] == pytest.approx(np.subtract(values[1], values[0]))
    assert gap["difference"] == pytest.approx(np.mean(gap["pairs"]))
    assert gap["low"] < gap["difference"] < gap["high"]
    page = (root / "out" / "comparison.html").read_text()
    assert "3 runs of each" in page


def test_seeds_are_paired_by_their_number_whatever_the_order(root: Path) -> None:
    assert of_seeds(root, "012", "012") == of_seeds(root, "012", "201") | {
        "evaluation": "index-test"
    }


def test_one_group_alone_is_merged(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    told = of_seeds(root, "012")
    assert told["comparisons"] == []
    assert list(told["groups"]) == ["weak"]
    assert any(line.startswith("IoU per image") and "±" in line for line in caplog.messages)


def test_unequal_groups_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="weak has 3, full has 2: give as many runs of each"):
        of_seeds(root, "012", "01")


# ---- which evaluation


def measure(root: Path, run: str, **settings: Any) -> Path:
    given = {"resamples": 0, "report_frames": 0, "hardware": CPU} | settings
    return evaluation.run(EvaluatePlan(run=str(root / "runs" / run), **given), {})


def test_evaluations_that_are_there_are_taken_and_others_made(root: Path) -> None:
    there = measure(root, "near", name="mine")
    before = there.stat().st_mtime_ns
    told = compared(root, "near", "far", name="mine")
    assert told["evaluation"] == "mine"
    assert there.stat().st_mtime_ns == before
    assert (root / "runs" / "far" / "evaluation" / "mine.json").exists()


def test_newest_evaluation_of_all_runs_is_taken(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name in ("first", "second"):
        for run in ("near", "far"):
            measure(root, run, name=name)
    measure(root, "near", name="alone")
    assert compared(root, "near", "far")["evaluation"] == "second"
    assert "evaluation second; name= also takes first" in caplog.messages


def test_evaluation_of_a_run_made_anew_is_made_anew(root: Path) -> None:
    path = measure(root, "near", name="mine")
    measure(root, "far", name="mine")
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"run": "of-another-run"}))
    compared(root, "near", "far", name="mine")
    assert json.loads(path.read_text())["run"] != "of-another-run"


def test_other_frames_are_refused(root: Path) -> None:
    measure(root, "near", name="mine")
    path = root / "data" / "index.csv"
    some = IndexSource(str(path), where={"camera": "cam0"})
    measure(root, "far", name="mine")
    told = root / "runs" / "far" / "evaluation" / "mine.json"
    content = json.loads(told.read_text())
    kept = {frame.id for frame in some.frames()}
    rows = [row for row in content["frames"] if row["id"] in kept]
    told.write_text(json.dumps(content | {"frames": rows}))
    with pytest.raises(ArtifactError, match=r"of different frames: frame2_0, .* and 9 more in one"):
        compared(root, "near", "far", name="mine")


@pytest.mark.parametrize("key", ["truth", "label", "scene"])
def test_other_truth_is_refused(root: Path, key: str) -> None:
    for run in ("near", "far"):
        measure(root, run, name="mine")
    path = root / "runs" / "far" / "evaluation" / "mine.json"
    told = json.loads(path.read_text())
    told["frames"][0][key] = 0 if key == "label" else "other"
    path.write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="frame0_0 by different masks, labels or scenes"):
        compared(root, "near", "far", name="mine")


def test_frames_of_other_data_are_measured_on_request(root: Path) -> None:
    index = (root / "data").resolve() / "index.csv"
    some = IndexSource(str(index), where={"camera": "cam1"})
    told = compared(root, "near", "far", data=some, name="some", split=None)
    assert told["evaluation"] == "some"
    assert told["frames"] == 6
    assert {row["scene"] for row in told["comparisons"][0]["by_scene"]} == {"s2", "s3"}


def test_frames_asked_for_are_measured_whatever_was_measured_before(root: Path) -> None:
    for run in ("near", "far"):
        measure(root, run, name="mine")
    index = (root / "data").resolve() / "index.csv"
    some = IndexSource(str(index), where={"camera": "cam1"})
    assert compared(root, "near", "far", data=some)["frames"] == 6
    assert compared(root, "near", "far", data=some, name="mine")["frames"] == 6
    there = root / "runs" / "far" / "evaluation" / "mine.json"
    before = there.stat().st_mtime_ns
    assert compared(root, "near", "far", data=some, name="mine")["frames"] == 6
    assert there.stat().st_mtime_ns == before
    assert compared(root, "near", "far")["frames"] == 6
    told = compared(root, "near", "far", split=None)
    assert (told["evaluation"], told["frames"]) == ("index", 18)


def test_unlike_tiles_are_refused(root: Path) -> None:
    for run in ("near", "far"):
        path = measure(root, run, name="mine")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tile": 512}))
    with pytest.raises(ArtifactError, match="unlike tiles, the run's own and of 512 pixels"):
        compared(root, "near", "far", name="mine")


# ---- names and words


def test_too_little_is_refused() -> None:
    for plan, complaint in (
        (ComparePlan(), "give two runs or more"),
        (ComparePlan(runs=["a"]), "a alone cannot be compared"),
        (ComparePlan(runs=["a", "b"], groups={"c": ["d"]}), "give two runs or more"),
        (ComparePlan(groups={"c": []}), "c has 0"),
        (ComparePlan(runs=["x/a", "y/../x/a"]), None),
    ):
        if complaint is None:
            assert len(name_groups(plan)) == 2
        else:
            with pytest.raises(ValueError, match=complaint):
                name_groups(plan)
    with pytest.raises(ValueError, match="compared with itself"):
        short_names(["x/a", "x/a"])


def test_runs_are_named_by_what_tells_them_apart() -> None:
    assert short_names(["r/a", "r/b"]) == ["a", "b"]
    assert short_names(["r/one/a", "r/two/a", "r/two/b"]) == ["one/a", "two/a", "two/b"]
    assert folder_name(["one/a", "b"]) == "one_a-vs-b"


def gap(value: float, low: float, high: float, name: str = "iou_per_image") -> Difference:
    return Difference(name, 0.5, 0.5 + value, value, low, high, [value])


def test_sentences_say_what_is_known_and_no_more() -> None:
    assert sentence(gap(0.1, 0.05, 0.2), "a", "b") == (
        "IoU per image: a 0.500, b 0.600. b is better by 0.100; 95 % of resamples give "
        "+0.050 to +0.200."
    )
    assert "b is worse by 0.100" in sentence(gap(0.1, 0.05, 0.2, "false_alarm_share"), "a", "b")
    assert "do not tell which is better" in sentence(gap(0.1, -0.05, 0.2), "a", "b")
    assert sentence(gap(0.0, 0.0, 0.0), "a", "b").endswith("the same.")
    assert "of one scene" in sentence(gap(0.1, np.nan, np.nan), "a", "b")


def test_bare_words_are_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    given = ["a/b", "lr=0.1", "seed=3", "groups.x=[c,d]", "--cfg", "job", "my run"]
    assert _rewrite_arguments(given, "compare") == [
        *("seed=3", "++groups.x=[c,d]", "--cfg", "job"),
        "runs=[a/b,'lr=0.1','my run']",
        "--resolve",
    ]
    assert _rewrite_arguments(["a=b"], "compare") == ["a=b"]
    assert _rewrite_arguments(["sets.night=n.csv"], "evaluate") == ["++sets.night=n.csv"]


def test_command_compares_what_is_typed(doors: Any, root: Path) -> None:
    done = doors.must("compare", "runs/near", "runs/far", "resamples=20", cwd=root)
    assert "far is worse by" in done.err
    folder = root / "runs" / "comparison" / "near-vs-far"
    assert {path.name for path in folder.iterdir()} == {"comparison.json", "comparison.html"}
    groups = ("groups.weak=[runs/weak0,runs/weak1]", "groups.full=[runs/full0,runs/full1]")
    done = doors.must("compare", *groups, "resamples=20", "output=seeds", cwd=root)
    assert "full is better by" in done.err
    done = doors.run("compare", "runs/near", cwd=root)
    assert "runs/near alone cannot be compared" in done.sentence
