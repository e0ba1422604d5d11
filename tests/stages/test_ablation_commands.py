"""The commands are those a user would type: rows win over the study, and nothing that learns is
told of masks; what changes the figures is fingerprinted, and where the work runs is not."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from weakseg.plans import StudyPlan
from weakseg.stages.ablation.frames import AblationFrames
from weakseg.stages.ablation.study import Unit, read_study
from weakseg.stages.ablation.unit_commands import Kitchen
from weakseg.stages.ablation.words import files_in, merged, quoted, shortened, unquoted
from weakseg.targets import ConfigurationError

ROWS = [
    {"name": "cnn", "group": "baseline", "stage1": "classifier=resnet50 cam=layer_cam"},
    {"name": "other_cam", "group": "baseline", "of": "cnn", "stage1": "cam=grad_cam"},
    {
        "name": "student",
        "group": "consistency",
        "of": "cnn",
        "stage2": "consistency=resnet_to_vit consistency.loss.alignment=channel",
    },
    {"name": "student_crf", "group": "combination", "of": "student", "stage2": "refine=crf"},
    {"name": "crf", "group": "step", "of": "cnn", "stage2": "refine=crf"},
]
SEED = 3


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    (tmp_path / "index.csv").write_text("path,label\n")
    (tmp_path / "truth.csv").write_text("path,label,mask_path\n")
    frames = AblationFrames(
        index=tmp_path / "index.csv",
        truth=tmp_path / "truth.csv",
        root=Path("/data/smoke frames"),
        counts={},
        judged=["train", "val"],
    )
    return Kitchen(
        study=read_study(StudyPlan(rows=ROWS), weights={}, only=[]),
        output=tmp_path,
        frames=frames,
        stage1=("tracker=none fit.epochs=6", "fit.epochs=2"),
        stage2=("tracker=none refine=none", ""),
        hardware=("hardware.threads=1", "hardware.accelerator=cpu"),
    )


def words(kitchen: Kitchen, row: str, step: str) -> dict[str, str]:
    found = {one.name: one for one in kitchen.steps(Unit(row, SEED))}[step]
    return dict(word.split("=", 1) for word in found.words)


def test_unit_is_made_and_then_measured(kitchen: Kitchen) -> None:
    names = [step.name for step in kitchen.steps(Unit("cnn", SEED))]
    assert names == ["stage1", "stage2", "measure-train", "measure-val"]
    names = [step.name for step in kitchen.steps(Unit("crf", SEED))]
    assert names == ["stage2", "measure-train", "measure-val"]


def test_nothing_that_learns_is_told_of_masks(kitchen: Kitchen) -> None:
    for unit in kitchen.study.units([0, 1]):
        for step in kitchen.steps(unit):
            tells = any("truth" in word or "mask" in word for word in step.words)
            assert tells == (step.command == "evaluate")


def test_row_wins_over_study_and_user_over_row(kitchen: Kitchen) -> None:
    assert words(kitchen, "cnn", "stage1")["fit.epochs"] == "2"
    assert words(kitchen, "cnn", "stage2")["refine"] == "none"
    assert words(kitchen, "crf", "stage2")["refine"] == "crf"


def test_rows_share_the_cams_they_build_on(kitchen: Kitchen, tmp_path: Path) -> None:
    cams = str(tmp_path / "stage1" / "cnn" / "seed3")
    assert words(kitchen, "cnn", "stage1")["output"] == cams
    assert words(kitchen, "crf", "stage2")["cams"] == cams
    assert words(kitchen, "student", "stage2")["cams"] == cams


def test_row_on_a_student_takes_the_students_cams(kitchen: Kitchen, tmp_path: Path) -> None:
    student = tmp_path / "stage2" / "student" / "seed3" / "student"
    assert words(kitchen, "student_crf", "stage2")["cams"] == str(student)


def test_other_cams_are_made_of_the_trained_classifier(kitchen: Kitchen, tmp_path: Path) -> None:
    given = words(kitchen, "other_cam", "stage1")
    assert given["trained"] == str(tmp_path / "stage1" / "cnn" / "seed3")
    own = str(tmp_path / "stage1" / "other_cam" / "seed3")
    assert words(kitchen, "other_cam", "stage2")["cams"] == own


def test_seed_and_frames_are_given(kitchen: Kitchen) -> None:
    given = words(kitchen, "cnn", "stage1")
    assert given["seed"] == "3"
    assert given["data.root"] == "'/data/smoke frames'"
    assert given["data.index"].endswith("index.csv")
    assert words(kitchen, "cnn", "measure-val")["split"] == "val"


def test_commands_can_be_pasted_into_a_terminal(kitchen: Kitchen) -> None:
    for step in kitchen.steps(Unit("cnn", SEED)):
        assert shlex.split(step.line)[3:] == list(step.words)
        OverridesParser.create().parse_overrides(list(step.words))


@pytest.mark.parametrize(
    "value",
    ["plain/a-b_c.1", "with space/x", "it's", "a=b (1),{c}", "", "a\\b", "a\\", "a~b", "\\'"],
)
def test_quoted_value_reaches_hydra_whole(value: str) -> None:
    assert unquoted(quoted(value)) == value
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(value)}"])
    assert override.value() == value


def test_file_of_the_user_is_quoted_and_other_values_are_not(tmp_path: Path) -> None:
    weights = tmp_path / "my weights (1).safetensors"
    weights.touch()
    found = merged(f"classifier.weights='{weights}' cam.scales=[1.0,2.0]")
    (override, _) = OverridesParser.create().parse_overrides(found)
    assert override.value() == str(weights)
    assert found[1] == "cam.scales=[1.0,2.0]"


def test_later_value_of_a_key_counts() -> None:
    assert merged("a=1 b=2", "++a=3", "c=4 b=5") == ["++a=3", "c=4", "b=5"]


# ---- fingerprints


def test_only_what_changes_figures_counts(kitchen: Kitchen, tmp_path: Path) -> None:
    unit = Unit("crf", SEED)
    before = kitchen.fingerprint(unit)
    elsewhere = dataclasses.replace(kitchen, hardware=("hardware.threads=8",), threads=8)
    assert elsewhere.fingerprint(unit) == before
    assert dataclasses.replace(kitchen, stage1=("tracker=none", "")).fingerprint(unit) != before
    assert kitchen.fingerprint(Unit("crf", 4)) != before
    others = dataclasses.replace(kitchen.frames, content="of other masks")
    assert dataclasses.replace(kitchen, frames=others).fingerprint(unit) != before


@pytest.mark.parametrize(
    "words", ["cache=/fast/disk", "tracker=tensorboard", "report_frames=9", "overwrite=true"]
)
def test_what_changes_no_figure_does_not_count(kitchen: Kitchen, words: str) -> None:
    unit = Unit("cnn", SEED)
    other = dataclasses.replace(kitchen, stage2=(kitchen.stage2[0], words))
    assert other.fingerprint(unit) == kitchen.fingerprint(unit)


def test_recipe_is_of_the_row_and_not_of_the_seed(kitchen: Kitchen) -> None:
    longer = dataclasses.replace(kitchen, stage1=("", "fit.epochs=9"))
    assert longer.recipe("crf") != kitchen.recipe("crf") != kitchen.recipe("cnn")


def test_changed_row_changes_what_builds_on_it_and_nothing_else(kitchen: Kitchen) -> None:
    rows = [{**row} for row in ROWS]
    rows[2]["stage2"] = "consistency=resnet_to_vit consistency.loss.alignment=gram"
    study = read_study(StudyPlan(rows=rows), weights={}, only=[])
    other = dataclasses.replace(kitchen, study=study)
    changed = {
        unit.row
        for unit in kitchen.study.units([SEED])
        if kitchen.fingerprint(unit) != other.fingerprint(unit)
    }
    assert changed == {"student", "student_crf"}


def test_weights_count_by_their_content(tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    weights.write_text("one")
    one = files_in([f"classifier.weights={weights}", "fit.epochs=2", "seed=0"], {})
    assert [key for key, _ in one] == ["classifier.weights"]
    weights.write_text("two")
    assert files_in([f"classifier.weights={weights}"], {}) != one


def test_weights_of_the_same_name_do_not_hide_each_other(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    words = [f"{key}.weights={tmp_path}/{key}/model.safetensors" for key in "ab"]
    before = files_in(words, {})
    assert [key for key, _ in before] == ["a.weights", "b.weights"]
    (tmp_path / "a" / "model.safetensors").write_text("other")
    after = files_in(words, {})
    assert (after[0] != before[0], after[1] == before[1]) == (True, True)


def test_weights_of_a_run_count_by_their_content_too(tmp_path: Path) -> None:
    best = tmp_path / "run" / "checkpoints" / "best.safetensors"
    best.parent.mkdir(parents=True)
    best.write_text("one")
    words = [f"encoder_weights=run:{tmp_path}/run", f"output={tmp_path}/run"]
    before = files_in(words, {})
    assert [key for key, _ in before] == ["encoder_weights"]
    best.write_text("other")
    assert files_in(words, {}) != before


def test_weights_are_hashed_once(tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    weights.write_text("one")
    known: dict[Path, str] = {}
    before = files_in([f"w={weights}"], known)
    weights.write_text("other")
    assert files_in([f"w={weights}"], known) == before


def test_folders_are_replaced_in_lists_and_in_runs_too() -> None:
    places = {"/out": "OUT", "/out/frames": "FRAMES"}
    told = {
        "a=run:/out/stage1/x": "a=run:OUT/stage1/x",
        "a=run:/else/where": "a=run:where",
        "a=['/out/with space/x','/else/b,c',/out/y]": "a=['OUT/with space/x','b,c',OUT/y]",
        "data.root=/out/frames": "data.root=FRAMES",
        "cam.scales=[1.0,2.0]": "cam.scales=[1.0,2.0]",
        "refine=none": "refine=none",
    }
    assert {word: shortened(word, places) for word in told} == told


def test_long_list_is_no_path() -> None:
    word = f"cam.scales=[{','.join(['1.5'] * 3000)}]"
    assert merged(word) == [word]
    assert files_in([word], {}) == []


def test_weights_with_an_apostrophe_reach_hydra_whole(tmp_path: Path) -> None:
    weights = tmp_path / "it's.safetensors"
    weights.touch()
    rows = [{"name": "a", "group": "baseline", "stage1": f"classifier.weights='{weights}' b=1"}]
    study = read_study(StudyPlan(rows=rows), weights={"a": str(weights), "b": None}, only=[])
    first, second = OverridesParser.create().parse_overrides(merged(study.rows["a"].stage1))
    assert (first.value(), second.value()) == (str(weights), 1)


def test_rows_and_seeds_share_a_cache_but_for_a_word_of_the_user(kitchen: Kitchen) -> None:
    assert words(kitchen, "crf", "stage2")["cache"] == str(kitchen.output / "cache")
    other = dataclasses.replace(kitchen, stage2=("", "cache=/fast/disk"))
    assert words(other, "crf", "stage2")["cache"] == "/fast/disk"


def test_portable_line_names_no_folder_of_this_machine(kitchen: Kitchen, tmp_path: Path) -> None:
    for unit in kitchen.study.units([SEED]):
        for step in kitchen.steps(unit):
            line = kitchen.portable_line(step)
            assert str(tmp_path) not in line
            assert "smoke frames" not in line
            assert "hardware.threads" not in line
    line = kitchen.portable_line(kitchen.steps(Unit("cnn", SEED))[0])
    assert "data.index=OUT/index.csv data.root=FRAMES output=OUT/stage1/cnn/seed3" in line
    assert kitchen.portable(["classifier.weights=/home of/a.safetensors"]) == [
        "classifier.weights=a.safetensors"
    ]


def test_row_may_average_in_the_cams_of_a_row_it_builds_on(kitchen: Kitchen) -> None:
    rows = [*ROWS, {"name": "both", "group": "consistency", "of": "student", "also": "cnn"}]
    rows[-1]["stage2"] = "refine=crf"
    both = dataclasses.replace(kitchen, study=read_study(StudyPlan(rows=rows), weights={}, only=[]))
    found = words(both, "both", "stage2")
    assert found["ensemble"] == f"[{kitchen.output}/stage1/cnn/seed{SEED}]"
    assert found["cams"] == f"{kitchen.output}/stage2/student/seed{SEED}/student"
    assert "ensemble" not in words(both, "student", "stage2")
    [line] = [step for step in both.steps(Unit("both", SEED)) if step.name == "stage2"]
    assert f"ensemble=[OUT/stage1/cnn/seed{SEED}]" in both.portable(line.words)


def test_row_averages_in_only_what_it_builds_on() -> None:
    rows = [*ROWS, {"name": "both", "group": "consistency", "of": "cnn", "also": "student"}]
    with pytest.raises(ConfigurationError, match="both: also names student, which both does not"):
        read_study(StudyPlan(rows=rows), weights={}, only=[])


def test_no_setting_is_given_twice(kitchen: Kitchen) -> None:
    """Of a setting given twice the last would count, against the word of the study."""
    narrow = dataclasses.replace(
        kitchen,
        stage1=("hardware.precision=bf16", ""),
        stage2=("", "hardware.precision=bf16"),
        hardware=(*kitchen.hardware, "hardware.precision=auto"),
    )
    for row in ("cnn", "student", "crf"):
        for step in narrow.steps(Unit(row, SEED)):
            keys = [word.partition("=")[0] for word in step.words]
            assert len(keys) == len(set(keys))
            precise = "auto" if step.command == "evaluate" else "bf16"
            assert f"hardware.precision={precise}" in step.words
            assert "hardware.threads=1" in step.words
