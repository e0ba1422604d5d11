"""Results count while they are what the commands of today would give, and only like ones mix."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from weakseg.artifacts import RunFolder, write_json
from weakseg.errors import ArtifactError
from weakseg.plans import AblationPlan, StudyPlan
from weakseg.stages.ablation import command as ablation
from weakseg.stages.ablation.frames import AblationFrames
from weakseg.stages.ablation.results import Result, alike, result_path, up_to_date
from weakseg.stages.ablation.study import Unit, read_study
from weakseg.stages.ablation.unit_commands import Kitchen

ROWS = [
    {"name": "cnn", "group": "baseline", "stage1": "classifier=resnet50"},
    {"name": "crf", "group": "step", "of": "cnn", "stage2": "refine=crf"},
    {"name": "vit", "group": "consistency", "of": "cnn", "stage2": "consistency=resnet_to_vit"},
    {"name": "both", "group": "combination", "of": "vit", "also": "cnn", "stage2": "refine=crf"},
]


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    frames = AblationFrames(
        tmp_path / "index.csv", tmp_path / "truth.csv", Path("/frames"), {}, ["val"]
    )
    study = read_study(StudyPlan(rows=ROWS), weights={}, only=[])
    return Kitchen(study, tmp_path, frames, ("", ""), ("", ""))


@pytest.fixture
def results() -> list[Result]:
    """Three seeds of one row, and one of another."""
    units = [Unit("cnn", 0), Unit("cnn", 1), Unit("cnn", 2), Unit("crf", 1)]
    return [Result(unit, "baseline", "f" * 64, [], {"val/auroc": 0.9}, 1.5) for unit in units]


def test_result_of_other_making_is_stale(kitchen: Kitchen, results: list[Result]) -> None:
    today = [dataclasses.replace(one, fingerprint=kitchen.fingerprint(one.unit)) for one in results]
    assert up_to_date(kitchen, today) == (today, [])
    longer = dataclasses.replace(kitchen, stage1=("", "fit.epochs=2"))
    mixed = [
        dataclasses.replace(today[0], fingerprint=longer.fingerprint(today[0].unit)),
        *today[1:],
    ]
    assert up_to_date(kitchen, mixed) == (today[1:], [Unit("cnn", 0)])
    assert up_to_date(longer, mixed)[0] == mixed[:1]
    frames = dataclasses.replace(kitchen.frames, content="of other masks")
    assert up_to_date(dataclasses.replace(kitchen, frames=frames), today)[0] == []


def test_seeds_made_in_different_ways_have_no_mean(kitchen: Kitchen, results: list[Result]) -> None:
    made = [dataclasses.replace(one, recipe=f"of {one.unit.row}") for one in results]
    assert alike(kitchen, made) == (made, [])
    made[0] = dataclasses.replace(made[0], recipe="longer")
    with pytest.raises(ArtifactError, match="seeds 0 and seeds 1, 2 of cnn were made in different"):
        alike(kitchen, made)
    made[0] = dataclasses.replace(made[0], frames="others")
    assert alike(kitchen, made) == (made[1:], [Unit("cnn", 0)])


def test_cams_that_are_averaged_in_are_made_again_where_they_are_needed(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(
        ablation, "make_unit", lambda kitchen, unit, *_: made.append(unit.row) or 1.0
    )
    units = [Unit(row, 0) for row in ("cnn", "vit", "both")]
    for unit in units[:2]:
        done = Result(unit, "baseline", kitchen.fingerprint(unit), [], {}, 1.5)
        write_json(result_path(kitchen.output, unit), done.to_json())
    finished(kitchen.cams_of(units[1]))
    ablation.make_units(AblationPlan(seeds=[0]), kitchen, units)
    assert made == ["cnn", "both"]
    made.clear()
    finished(kitchen.cams_of(units[0]))
    ablation.make_units(AblationPlan(seeds=[0]), kitchen, units)
    assert made == ["both"]


def finished(run: Path) -> None:
    RunFolder.open(run, kind="stage1", config={}, settings={}, inputs={}, data={}).finish({})


def test_time_left_is_not_learnt_from_what_was_begun_before(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[list[str]] = []
    monkeypatch.setattr(ablation, "make_unit", lambda *_: 5.0)
    monkeypatch.setattr(
        ablation,
        "seconds_left",
        lambda left, took, **_: known.append(sorted(unit.row for unit in took)),
    )
    units = [Unit(row, 0) for row in ("cnn", "crf", "vit")]
    kitchen.stage2_folder(units[1]).mkdir(parents=True)
    ablation.make_units(AblationPlan(seeds=[0]), kitchen, units)
    assert known == [["cnn"], ["cnn"], ["cnn", "vit"]]
